# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Pretrain a concept encoder.

    python examples/run_pretraining.py

needs no argument and no network: it trains a small encoder on the embedded corpus in a few minutes on two CPU cores.
On other data and in other sizes, for instance:

    python examples/run_pretraining.py --model_type perceiver_mlm --dataset_name Salesforce/wikitext \
        --dataset_config_name wikitext-103-raw-v1 --tokenizer_name answerdotai/ModernBERT-base \
        --hidden_size 512 --num_hidden_layers 6 --num_attention_heads 8 --intermediate_size 1536 \
        --concept_num 128 --max_seq_length 512 --learning_rate 5e-4 --bf16

A JSON file of arguments may be given first; arguments on the command line take precedence over it:

    accelerate launch --config_file examples/accelerate_configs/ddp.yaml \
        examples/run_pretraining.py examples/configs/todo_10_tsdae.json --max_steps 1000
"""

from trainers.pretraining import main
from trainers.utils.script import run_script


if __name__ == "__main__":
    run_script(main)
