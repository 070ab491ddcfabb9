"""The native module. A test compares names and signatures with what was built."""

from typing import Callable, final

__all__ = [
    "AestheticPredictor",
    "CancelToken",
    "Generator",
    "Image",
    "Interrogator",
    "Pipeline",
    "Plan",
    "Run",
    "Upscaler",
    "__version__",
    "available_devices",
    "betas",
    "brownian",
    "inspect",
    "noise_levels",
    "parse_attention",
    "parse_infotext",
    "plan_prompts",
    "read_infotext",
    "sample",
    "samplers",
    "scalings",
    "schedule",
    "schedules",
    "sigmas",
    "subprompts",
]

__version__: str

_Pixels = tuple[bytearray, int, int]
_Step = tuple[int, int, int, int, float, _Pixels | None]
_Told = Callable[[int, int, int, int, float, _Pixels | None], object]
_Lora = tuple[
    str, float, float, list[float] | list[tuple[str, float]] | None, bool, str | None, int | None, str | None
]
_Given = tuple[bytearray, list[int]]
_Taken = tuple[bytes, list[int]]

@final
class CancelToken:
    """Stops the run that it was given to, from any thread; it stays used."""

    def __new__(cls) -> CancelToken: ...
    def cancel(self) -> None: ...
    @property
    def cancelled(self) -> bool: ...

@final
class Image:
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def infotext(self) -> str: ...
    def pixels(self) -> bytearray: ...
    def png(self) -> bytes: ...
    def save(self, path: object, quality: int) -> None: ...

@final
class Upscaler:
    @staticmethod
    def open(path: object, device: str, dtype: object, threads: int | None) -> Upscaler: ...
    @staticmethod
    def named(name: str) -> Upscaler: ...
    @property
    def name(self) -> str: ...
    @property
    def factor(self) -> int | None: ...
    @property
    def description(self) -> str: ...
    def upscale(
        self,
        rgba: bytes,
        size: tuple[int, int],
        scale: float | None,
        target: tuple[int, int] | None,
        tile: int,
        callback: Callable[[int, int], object] | None,
        cancel: CancelToken | None,
    ) -> _Pixels: ...

@final
class Interrogator:
    @staticmethod
    def open(
        demo: bool,
        paths: dict[str, str],
        clip_activation: str | None,
        phrases: list[tuple[str, list[str]]] | None,
        device: str,
        dtype: object,
        threads: int | None,
    ) -> Interrogator: ...
    def interrogate(
        self,
        rgba: bytes,
        size: tuple[int, int],
        mode: str,
        caption: str | None,
        captions: tuple[str | None, int | None, int | None, int | None, float | None, float | None, bool],
        flavors: tuple[int | None, int | None],
        limit: int,
        ranks: bool,
        skip: list[str],
        original: bool,
        callback: Callable[[str, int, int], object] | None,
        cancel: CancelToken | None,
    ) -> str: ...
    def embed_image(self, rgba: bytes, size: tuple[int, int]) -> bytearray: ...
    def embed_texts(self, texts: list[str]) -> _Given: ...
    def rank(self, rgba: bytes, size: tuple[int, int], texts: list[str]) -> bytearray: ...

@final
class AestheticPredictor:
    @staticmethod
    def open(path: object) -> AestheticPredictor: ...
    @property
    def width(self) -> int: ...
    def rate(self, vector: list[float]) -> float: ...

@final
class Run:
    def next(self) -> _Step | list[Image] | None: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...

@final
class Pipeline:
    def __new__(
        cls,
        checkpoint: str | None,
        *,
        config: str | None,
        vae: str | None,
        taesd: str | None,
        tokenizer: str | None,
        text_encoder: str | None,
        text_encoder_2: str | None,
        unet: str | None,
        refiner: str | None,
        loras: list[_Lora],
        lora_dirs: list[str],
        embeddings: list[str],
        upscalers: list[str],
        device: str,
        dtype: str,
        prediction: str | None,
        predictions: str | None,
        allow_unexpected: bool,
        threads: int | None,
        log: Callable[[str, str], object] | None,
        memory_limit: int | None,
        quantization: str,
        weight_dtype: str,
        keep_text_encoders: bool,
    ) -> Pipeline: ...
    def with_loras(self, loras: list[_Lora]) -> Pipeline: ...
    def with_vae(self, vae: str) -> Pipeline: ...
    def save_file(self, path: str, dtype: str) -> None: ...
    def save_folder(self, path: str, dtype: str) -> None: ...
    @property
    def scaling_factor(self) -> float: ...
    @property
    def loras(self) -> list[tuple[str, float, float]]: ...
    @property
    def name(self) -> str: ...
    @property
    def refiner_name(self) -> str | None: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def weight_dtype(self) -> str: ...
    @property
    def prediction(self) -> str: ...
    @property
    def recommended(self) -> str: ...
    @property
    def embeddings(self) -> list[str]: ...
    @property
    def skipped_embeddings(self) -> list[str]: ...
    def sizes(self) -> list[int]: ...
    def plan(self, given: dict[str, object]) -> str: ...
    def tokenize(self, text: str) -> list[int]: ...
    def encode_prompt(self, prompt: str, clip_skip: int) -> _Given: ...
    def encode_text(self, text: str, clip_skip: int, encoder: int | None) -> _Given: ...
    def pooled_prompt(self, prompt: str) -> _Given: ...
    def pooled_text(self, text: str) -> _Given: ...
    def encode_ids(self, ids: list[int], clip_skip: int, encoder: int) -> _Given: ...
    def text_hidden_states(self, ids: list[int], encoder: int) -> _Given: ...
    def size_vector(self, sizes: list[float]) -> _Given: ...
    def unet(
        self, latents: _Taken, timesteps: list[float], context: _Taken, added: _Taken | None, cfg_scale: float | None
    ) -> _Given: ...
    def vae_encode(self, images: _Taken) -> tuple[_Given, _Given]: ...
    def vae_decode(self, latents: _Taken) -> _Given: ...
    def train_sigmas(self) -> bytearray: ...
    def txt2img(
        self,
        given: dict[str, object],
        preview: str | None,
        preview_every: int,
        callback: _Told | None,
        cancel: CancelToken | None,
    ) -> list[Image]: ...
    def latents(
        self,
        given: dict[str, object],
        preview: str | None,
        preview_every: int,
        callback: _Told | None,
        cancel: CancelToken | None,
    ) -> tuple[_Given, list[int], list[str]]: ...
    def start(
        self, given: dict[str, object], preview: str | None, preview_every: int, cancel: CancelToken | None
    ) -> Run: ...

@final
class Generator:
    def __new__(cls, seed: int, rng: str) -> Generator: ...
    def normal(self, n: int, dtype: str) -> bytearray: ...

@final
class Plan:
    def __new__(
        cls,
        pipeline: Pipeline | None,
        sampler: str,
        schedule: str,
        steps: int,
        sigmas: list[float] | None,
        dialect: str,
        options: dict[str, object],
    ) -> Plan: ...
    def sigmas(self) -> bytearray: ...
    def timesteps(self) -> bytearray: ...
    @property
    def steps(self) -> int: ...
    @property
    def calls(self) -> int: ...
    @property
    def image_scale(self) -> float: ...
    @property
    def noise_scale(self) -> float: ...

def available_devices() -> list[str]: ...
def betas(pipeline: Pipeline) -> tuple[str, tuple[float, float] | None] | None: ...
def brownian(
    n: int, seed: int, range: tuple[float, float], ways: list[tuple[float, float]], rng: str
) -> bytearray: ...
def inspect(path: str) -> str: ...
def noise_levels(pipeline: Pipeline, sampler: str, zero_terminal_snr: bool | None) -> bytearray: ...
def parse_attention(text: str) -> list[tuple[str, float]]: ...
def parse_infotext(text: str) -> str: ...
def plan_prompts(given: dict[str, object]) -> str: ...
def read_infotext(path: str) -> str: ...
def sample(
    denoiser: Callable[[bytearray, float, float, bool], tuple[bytes, bytes | None]],
    x: bytes,
    single: bool,
    plan: Plan,
    noise: Callable[[float, float], bytes] | None,
    seed: int,
    rng: str,
    callback: Callable[[int, int, float, bytearray, bytearray], object] | None,
) -> bytearray: ...
def samplers() -> list[str]: ...
def scalings(pipeline: Pipeline | None, sigma: float) -> list[float]: ...
def schedule(text: str, steps: int, hires_steps: int | None, before_16: bool) -> list[tuple[int, str]]: ...
def schedules() -> list[str]: ...
def sigmas(
    pipeline: Pipeline | None, schedule: str, steps: int, sampler: str | None, dialect: str, options: dict[str, object]
) -> bytearray: ...
def subprompts(text: str) -> list[tuple[str, float]]: ...
