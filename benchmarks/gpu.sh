#!/bin/sh
# Training, scoring and answering on a machine with torch, transformers and peft alone.
#
#     sh benchmarks/gpu.sh OUT [MODEL]      # MODEL: a folder or hub id, such as SmolLM2-135M
#
# Each part has its own time limit and leaves one JSON line in OUT/PART.json (its output is in
# OUT/PART.log). A part that has its line is not run again: start the same command once more to go
# on. The 1B Llama has random weights and is made in OUT with MODEL's tokenizer.
# TINY=1 takes small numbers and a small Llama: a try on a CPU.
set -u
out=${1:?usage: gpu.sh OUT [MODEL]}
model=${2:-bundled-student}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
tiny=${TINY:-}
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}"
mkdir -p "$out" || exit 2
failed=0

part() { # part NAME SECONDS COMMAND...
    name=$1 limit=$2
    shift 2
    if [ -n "$tiny" ]; then # a try may share its CPU with others
        limit=$((4 * limit))
    fi
    if [ -s "$out/$name.json" ]; then
        cat "$out/$name.json"
        return
    fi
    timeout -k 5 "$limit" "$@" > "$out/$name.log" 2>&1
    status=$?
    last=$(tail -n 1 "$out/$name.log")
    case "$status $last" in
    "0 {"*)
        printf '%s\n' "$last" > "$out/$name.json.part"
        mv "$out/$name.json.part" "$out/$name.json"
        printf '%s\n' "$last"
        ;;
    *)
        printf '{"benchmark": "%s", "failed": %s, "log": "%s"}\n' "$name" "$status" "$out/$name.log"
        tail -n 3 "$out/$name.log" >&2
        failed=1
        ;;
    esac
}

llama="$out/llama"
if [ -n "$tiny" ]; then
    hidden=64 layers=2 quick=--quick
else
    hidden=2048 layers=16 quick=
fi
part make_llama 60 "$python" -c "
import json, sys, torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from baldistill.generation.types import ModelRef
source, folder, hidden, layers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
tokenizer = AutoTokenizer.from_pretrained(ModelRef(source).resolve())
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=4 * hidden,
    num_hidden_layers=layers, num_attention_heads=hidden // 64 or 1,
    num_key_value_heads=max(1, hidden // 256), max_position_embeddings=2048,
    bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    tie_word_embeddings=True,
)
torch.manual_seed(0)
torch.set_default_dtype(torch.bfloat16)
if torch.cuda.is_available():
    torch.set_default_device('cuda')
model = LlamaForCausalLM(config)
model.save_pretrained(folder)
tokenizer.save_pretrained(folder)
print(json.dumps({'made': folder, 'parameters': model.num_parameters()}))
" "$model" "$llama" "$hidden" "$layers"

rows="64 256" few="--prompts 256 --rounds 2"
if [ -n "$tiny" ]; then
    rows=16 few="--prompts 32 --rounds 1"
fi
# Unquoted on purpose: these variables hold several words or none.
part generate_small 90 "$python" "$here/generate.py" $quick --model "$model" --rows $rows $few
part ifd_small 45 "$python" "$here/ifd.py" $quick --model "$model"
part fine_tune_small 90 "$python" "$here/fine_tune.py" --rounds 1 $quick --model "$model"
part fine_tune_1b 90 "$python" "$here/fine_tune.py" --rounds 1 $quick --model "$llama"
part fine_tune_1b_more 90 "$python" "$here/fine_tune.py" --rounds 1 $quick --model "$llama" \
    --ways ours "ours liger" "ours qlora"
part generate_1b 60 "$python" "$here/generate.py" $quick --model "$llama" --rows $rows $few
part ifd_1b 40 "$python" "$here/ifd.py" $quick --model "$llama"
exit $failed
