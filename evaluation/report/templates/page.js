"use strict";
// Plays one recording at a time. A line on the spectrogram shows the position, and a click on it plays from there.
for (const mel of document.querySelectorAll(".mel")) {
  const player = document.getElementById(mel.dataset.player) ?? mel.parentElement.querySelector("audio");
  if (!player) continue;
  const drawn = mel.querySelector("div"), line = mel.querySelector("b");
  const follow = () => {
    line.style.left = (100 * player.currentTime / player.duration || 0) + "%";
    if (!player.paused) requestAnimationFrame(follow);
  };
  player.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
    mel.classList.add("playing");
    follow();
  });
  player.addEventListener("seeked", follow);
  mel.addEventListener("click", event => {
    const box = drawn.getBoundingClientRect();
    player.currentTime = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * player.duration;
    player.play();
  });
}
