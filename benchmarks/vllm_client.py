"""Run `vllm bench serve` once for each address, in one process: its imports take longer than a measurement.

    PYTHON_OF_VLLM vllm_client.py FOLDER BASE_URL… -- FLAG…

The results are FOLDER/0.json, FOLDER/1.json, … It imports nothing of ours: vLLM's interpreter does not
have it. This folder comes first where that looks for modules, so none here may be called `vllm`.
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
