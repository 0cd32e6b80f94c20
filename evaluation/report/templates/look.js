// Shows the values of the place or word under the pointer, and its part of the recording.
const readout = document.querySelector(".readout");
document.addEventListener("pointerover", event => {
  const place = event.target.closest("[data-about]");
  for (const spot of document.querySelectorAll(".spot.seen")) spot.classList.remove("seen");
  readout.hidden = !place;
  if (!place) return;
  readout.textContent = place.dataset.about;
  if (!place.dataset.recording) return;
  for (const spot of place.closest(".item").querySelectorAll(".spot")) {
    if (spot.dataset.recording !== place.dataset.recording) continue;
    spot.style.left = place.dataset.left + "%";
    spot.style.width = place.dataset.width + "%";
    spot.classList.add("seen");
  }
});
