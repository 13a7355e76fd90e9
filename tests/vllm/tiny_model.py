"""Write a Llama so small that a CPU serves it at hundreds of tokens a second: configuration and tokenizer.

There are no weights; vLLM makes them up (`--load-format dummy`). Run by install.sh with the interpreter that vLLM is in:

    python tiny_model.py FOLDER
"""

import sys
import sysconfig
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast  # type: ignore[import-not-found]

TEMPLATE = "{% for m in messages %}<|{{m.role}}|>{{m.content}}\n{% endfor %}<|assistant|>"


def training_text() -> str:
    """Return some English that every Python brings along."""
    return (Path(sysconfig.get_paths()["stdlib"]) / "LICENSE.txt").read_text(errors="replace")


def build(folder: str) -> None:
    """Write the model's folder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([training_text()], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(fast),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=1,
    ).save_pretrained(folder)


if __name__ == "__main__":
    build(sys.argv[1])
