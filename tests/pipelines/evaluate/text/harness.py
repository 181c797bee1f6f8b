"""Scores the model and rows in `made.py` with lm-evaluation-harness itself, and writes `harness.json` next to it.

Run it by hand; the harness is too heavy for every run of the tests:

    pip install lm-eval[hf]==0.4.13 torch transformers onnx && python -m tests.pipelines.evaluate.text.harness
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

from tests.pipelines.evaluate.text.made import BOS, EOS, LONGEST, ROWS, tokenizer, weights

FACTS = Path(__file__).with_suffix(".json")
# A task's name in the harness, and the name of its data on the Hub.
_HARNESS = {
    "piqa": ("piqa", "baber/piqa"),
    "lambada": ("lambada_openai", "EleutherAI/lambada_openai"),
    "hellaswag": ("hellaswag", "Rowan/hellaswag"),
    "winogrande": ("winogrande", "allenai/winogrande"),
}
_SPLITS = ("train", "validation", "test")  # all the same, whichever the harness takes


class _Model(PreTrainedModel):  # type: ignore[misc] # types are checked without transformers
    """The model in PyTorch."""

    config_class = PretrainedConfig

    def __init__(self, vocabulary: int) -> None:
        super().__init__(PretrainedConfig(vocab_size=vocabulary, max_position_embeddings=LONGEST))
        self.tokens, self.places, self.next = (torch.nn.Parameter(torch.from_numpy(one)) for one in weights(vocabulary))

    def forward(self, input_ids: torch.Tensor, **_: object) -> Any:
        own = self.tokens[input_ids]
        length = input_ids.shape[1]
        mean = own.cumsum(1) / torch.arange(1, length + 1)[:, None]
        return CausalLMOutput(logits=torch.tanh(mean + own + self.places[:length]) @ self.next)


def facts(model: Any, rows: dict[str, Any]) -> dict[str, Any]:
    """The harness's answers for each task, by its own task files, with these rows in place of the Hub's."""
    own = {path: datasets.Dataset.from_list(list(rows[task])) for task, (_, path) in _HARNESS.items()}
    hub = {path: datasets.DatasetDict(dict.fromkeys(_SPLITS, found)) for path, found in own.items()}
    datasets.load_dataset = lambda path, *_, **__: hub[path]
    found = simple_evaluate(model=model, tasks=[name for name, _ in _HARNESS.values()], bootstrap_iters=0)
    return {task: _of_task(found, name) for task, (name, _) in _HARNESS.items()}


def _of_task(found: Any, name: str) -> dict[str, Any]:
    samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
    responses = [[answer[0] for answer in sample["resps"]] for sample in samples]
    results = {key.partition(",")[0]: value for key, value in found["results"][name].items()}
    return {
        "loglikelihoods": [[float(log) for log, _ in each] for each in responses],
        "greedy": [[bool(greedy) for _, greedy in each] for each in responses],
        "acc": [bool(sample["acc"]) for sample in samples],
        "acc_norm": [bool(sample["acc_norm"]) for sample in samples] if "acc_norm" in results else None,
        "perplexity": results.get("perplexity"),
    }


if __name__ == "__main__":
    made = tokenizer()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=BOS, eos_token=EOS)
    model = HFLM(pretrained=_Model(made.get_vocab_size()), tokenizer=wrapped, batch_size=3)
    FACTS.write_text(json.dumps(facts(model, dict(ROWS)), indent=1) + "\n", encoding="utf-8")
