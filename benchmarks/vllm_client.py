"""Run `vllm bench serve` once for each address, in one process: its imports take longer than a measurement.

    PYTHON_OF_VLLM vllm_client.py FOLDER BASE_URL… -- FLAG…

The results are FOLDER/0.json, FOLDER/1.json, … It is no module of ours to vLLM's interpreter, so it imports none.
"""

import sys

from vllm.benchmarks.serve import add_cli_args, main  # type: ignore[import-not-found]
from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found]

if __name__ == "__main__":
    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    end = sys.argv.index("--")
    folder, *addresses = sys.argv[1:end]
    for number, address in enumerate(addresses):
        where = ["--base-url", address, "--result-dir", folder, "--result-filename", f"{number}.json"]
        main(parser.parse_args([*sys.argv[end + 1 :], *where]))
