#!/usr/bin/env bash
# Train and export the bundled weights again: bash experiments/mini/weights/make.sh [folder of the spectron command]
# This takes about seven hours on 2 cores, most of them for the six stages of the bundled model.
# The commands also work one by one. Add --resume to continue an interrupted fit.
set -euo pipefail
cd "$(dirname "$0")/../../.."
spectron="${1:-.venv/bin}/spectron"
"$spectron" prepare synthetic data/mini
for name in pretrain_encoder pretrain_text judge_recogniser judge_text; do
  "$spectron" fit "experiments/mini/$name.yaml"
done
"$spectron" export mini-pretrain-encoder experiments/mini/weights/recogniser --half
"$spectron" export mini-pretrain-text experiments/mini/weights/text --half
"$spectron" export mini-judge-recogniser experiments/mini/weights/judge_recogniser --half
"$spectron" export mini-judge-text experiments/mini/weights/judge_text --half
# The vocoder also needs real recordings (see vocoder.yaml); without them, the bundled vocoder stays.
if [ -n "${SPECTRON_DATA:-}" ]; then
  "$spectron" fit experiments/mini/vocoder.yaml
  "$spectron" export mini-vocoder runs/mini-vocoder/export --half
  cp runs/mini-vocoder/export/vocoder/* experiments/mini/weights/vocoder/
fi
# The six stages of the bundled model, in order: each starts from the 32-bit export of the stage before it.
for name in \
  spectron \
  spectron_negated_carriers \
  spectron_voice \
  spectron_spelling \
  spectron_word_lists \
  spectron_scheduled_sampling
do
  "$spectron" fit "experiments/mini/$name.yaml"
  "$spectron" export "mini-${name//_/-}" "runs/mini-${name//_/-}/export"
done
weights=experiments/mini/weights
"$spectron" export mini-spectron-scheduled-sampling "$weights/spectron" --half
# An export is complete. The bundle stores no file twice: vocoder and tokenizer are those of the parts.
rm -r "$weights/spectron/vocoder"
rm "$weights"/spectron/language_model/tokenizer{,_config}.json
tokenizer='${here}/../text/language_model/tokenizer.json'
sed -i -e 's|${here}/vocoder|${here}/../vocoder|' \
  -e "s|^\( *\)source: \${here}/language_model|&\n\1tokenizer: $tokenizer|" "$weights/spectron/config.yaml"
