#!/usr/bin/env python
"""Make noised shards: python generate.py --variant pil_lanczos"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from pipelines.command import Parser, exit_status, options_of, stop
from pipelines.generate.options import Options
from pipelines.options import beside_paper, is_named

_EXAMPLES = """\
python generate.py --variant paper --dataset imagenet --source /data/val --labels val.txt
python generate.py --paper --dataset coco --source val2017.zip --annotations instances.json
Exit status: 0 all good; 1 some samples failed (see the manifest); 2 bad usage or input; 3 the run failed (the same \
command continues)."""


def _parser() -> Parser:
    return Parser(
        Options,
        prog="generate.py",
        description="Render images through variants of decoder, resize and colour conversion, or recordings through "
        "variants of resampling and STFT, into WebDataset shards.",
        epilog=_EXAMPLES,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    signal.signal(signal.SIGTERM, stop)
    parser = _parser()
    options = options_of(parser.parse_args(arguments), Options)
    if problem := beside_paper(parser.given(arguments)):
        parser.error(problem)
    if not (options.variants or options.paper or options.list_variants):
        parser.error("what to make? Give --variant, as in --variant pil_lanczos; see --list-variants")
    if not options.model and (name := next((n for n, value in vars(options.noise).items() if value is not None), None)):
        parser.error(f"--{name} applies only with --model")
    if options.model and options.seed is not None:
        parser.error("--seed applies only to mix_decode and mix_resize, which are not for models: leave it out")
    if options.noise.checkpoint and not is_named(options.model):
        parser.error("--checkpoint applies only with --model timm:NAME or torchvision:NAME")

    def work() -> int:  # imports what is not needed to report wrong arguments
        if options.list_variants:
            from generators.own import with_own
            from pipelines.generate.config import methods_of
            from pipelines.generate.report import variants_table

            print(variants_table(with_own(methods_of(options.methods))))
            if options.model:
                from pipelines.evaluate.model.write import list_for

                print(list_for(options))
            return 0
        asked = options
        if options.paper:
            from pipelines.generate.paper import paper

            asked = paper(options)
        if options.model:
            from pipelines.evaluate.model.write import generate_models

            return generate_models(asked)
        from pipelines.generate.run import generate

        return generate(asked)

    return exit_status(parser.prog, work)


if __name__ == "__main__":
    sys.exit(main())
