"""Settings of the simulator. Every name carries `sim_`, so that a shared environment cannot mix it up with the proxy's."""

from pathlib import Path

from pydantic import Field, SecretStr

from contracts.settings import Settings


class SimSettings(Settings):
    """How the simulated server behaves. Rates are probabilities of a request, drawn from `sim_seed`."""

    sim_listen: str = Field(default="127.0.0.1:8000", pattern=r"^.+:\d{1,5}$", description="HOST:PORT; port 0 is any")
    sim_models: str = Field(
        default="tiny", min_length=1, description="served names, comma-separated; the first answers"
    )
    sim_max_model_len: int = Field(default=8192, ge=2)
    sim_api_key: SecretStr | None = Field(default=None, description="asked for on /v1 as vLLM's --api-key")
    sim_prompt_tokens_details: bool = Field(default=True, description="vLLM's --enable-prompt-tokens-details")
    sim_responses_store: bool = Field(default=False, description="vLLM's VLLM_ENABLE_RESPONSES_API_STORE=1")

    sim_tokens_per_second: float = Field(default=0, ge=0, description="of each choice; 0: as fast as can be written")
    sim_ttft_seconds: float = Field(default=0, ge=0, description="time to the first token")
    sim_capacity: int = Field(default=256, ge=1, description="requests that run at once; the rest waits")
    sim_block_size: int = Field(default=16, ge=1, description="tokens in a block of the prefix cache")
    sim_cache_blocks: int = Field(default=65536, ge=1, description="blocks that the KV cache holds")
    sim_eos_every: int = Field(default=200, ge=2, description="mean tokens of an answer that no limit ends")

    sim_error_rate: float = Field(default=0, ge=0, le=1, description="answers 500 at once")
    sim_break_rate: float = Field(
        default=0, ge=0, le=1, description="fails midway: an error event, or 500 if not streamed"
    )
    sim_drop_rate: float = Field(default=0, ge=0, le=1, description="breaks the connection midway")
    sim_seed: int = 0

    sim_log: Path | None = Field(default=None, description="file that gets one JSON line a request")
