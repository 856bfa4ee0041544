"""Credentials and limits: where they come from, and keeping them out of everything we write.

Owns the ``CALLSHEET_*`` variables (environment, ``.env`` files, secrets folder) and the ``Redactor``. Never shows a value, not
even a wrong one: messages name variables and sources only. Base URLs are overrides; the usual ones are the providers' facts.
"""

from __future__ import annotations

import base64
import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, quote_plus, urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from runner.bounds import DEEPEST, LIMIT_PREFIX, USUAL, InputLimits, env_files
from runner.errors import SettingsError
from runner.model import JSON

PREFIX = "CALLSHEET_"
SECRETS_DIR = "CALLSHEET_SECRETS_DIR"
_BIGGEST_SECRET_FILE = 64 * 1024

REQUIRED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "kling": (("api_key",), ("access_key", "secret_key")),
    "creatify": (("api_id", "api_key"),),
    "topview": (("api_key", "uid"),),
    "akool": (("api_key",), ("client_id", "client_secret")),
}
"""Per provider the sets of credentials that are enough; any one of them is."""


def _without_blanks(value: object) -> object:
    """Files end with a newline, and pasted values with a blank; neither belongs to a credential."""
    return value.strip() if isinstance(value, str) else value


def _sendable(value: SecretStr | None) -> SecretStr | None:
    text = value.get_secret_value() if value is not None else ""
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("holds a blank, a line break or a character outside ASCII; copy it again from the provider's console")
    return value if text else None


def _plain_url(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("is not a URL such as https://api.example.com")
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password; credentials have variables of their own")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError("has a query or a fragment; give the address alone")
    return text.rstrip("/")


Secret = Annotated[SecretStr | None, BeforeValidator(_without_blanks), AfterValidator(_sendable)]
Url = Annotated[str | None, BeforeValidator(_without_blanks), AfterValidator(_plain_url)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class KlingSettings(_Group):
    """Kling: either a static ``api_key``, or the pair that signs a token."""

    base_url: Url = None
    access_key: Secret = None
    secret_key: Secret = None
    api_key: Secret = None


class CreatifySettings(_Group):
    """Creatify: an id and a key."""

    base_url: Url = None
    api_id: Secret = None
    api_key: Secret = None


class TopviewSettings(_Group):
    """Topview: a key and the account's id."""

    base_url: Url = None
    api_key: Secret = None
    uid: Secret = None


class AkoolSettings(_Group):
    """Akool: an ``api_key``, or the older pair; callbacks are decrypted with the pair."""

    base_url: Url = None
    client_id: Secret = None
    client_secret: Secret = None
    api_key: Secret = None


class NetworkSettings(_Group):
    """Limits of the wire, named as in ``wire.WireOptions``. Seconds and bytes."""

    connect_seconds: float = Field(10.0, gt=0, allow_inf_nan=False)
    answer_seconds: float = Field(60.0, gt=0, allow_inf_nan=False)
    upload_bytes_per_second: int = Field(128 * 1024, gt=0)
    stall_seconds: float = Field(30.0, gt=0, allow_inf_nan=False)
    download_seconds: float = Field(1800.0, gt=0, allow_inf_nan=False)
    max_answer_bytes: int = Field(32 * 1024 * 1024, gt=0)
    downloads: int = Field(8, gt=0)
    connections: int = Field(256, gt=0)
    paid_idle_seconds: float = Field(0.0, ge=0, allow_inf_nan=False)
    use_proxies: bool = True
    ca_file: Path | None = None


class LimitSettings(_Group):
    """Limits against hostile or broken input: the fields of ``bounds.InputLimits``, which says what each is for."""

    template_chars: int = Field(USUAL.template_chars, gt=0)
    template_seconds: float = Field(USUAL.template_seconds, gt=0, allow_inf_nan=False)
    template_text_chars: int = Field(USUAL.template_text_chars, gt=0)
    manifest_bytes: int = Field(USUAL.manifest_bytes, gt=0)
    manifest_nodes: int = Field(USUAL.manifest_nodes, gt=0)
    manifest_depth: int = Field(USUAL.manifest_depth, gt=0, le=DEEPEST)
    manifest_files: int = Field(USUAL.manifest_files, gt=0)
    matrix_cells: int = Field(USUAL.matrix_cells, gt=0)
    prompt_bytes: int = Field(USUAL.prompt_bytes, gt=0)
    catalogue_value_chars: int = Field(USUAL.catalogue_value_chars, gt=0, lt=2**31)
    catalogue_line_chars: int = Field(USUAL.catalogue_line_chars, gt=0, lt=2**31)
    catalogue_file_bytes: int = Field(USUAL.catalogue_file_bytes, gt=0)
    catalogue_yaml_bytes: int = Field(USUAL.catalogue_yaml_bytes, gt=0)
    catalogue_yaml_nodes: int = Field(USUAL.catalogue_yaml_nodes, gt=0)
    catalogue_xml_elements: int = Field(USUAL.catalogue_xml_elements, gt=0)
    media_pixels: int = Field(USUAL.media_pixels, gt=0)
    media_frames: int = Field(USUAL.media_frames, gt=0)
    media_decoded_pixels: int = Field(USUAL.media_decoded_pixels, gt=0)
    media_audio_frames: int = Field(USUAL.media_audio_frames, gt=0)
    callback_bytes: int = Field(USUAL.callback_bytes, gt=0)
    callback_seconds: float = Field(USUAL.callback_seconds, gt=0, allow_inf_nan=False)
    callback_connections: int = Field(USUAL.callback_connections, gt=0)


Provider = KlingSettings | CreatifySettings | TopviewSettings | AkoolSettings


class Settings(BaseSettings):
    """All settings of one run. Made by ``load_settings`` or ``rehearsal_settings``; reads nothing by itself."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    kling: KlingSettings = KlingSettings()
    creatify: CreatifySettings = CreatifySettings()
    topview: TopviewSettings = TopviewSettings()
    akool: AkoolSettings = AkoolSettings()
    network: NetworkSettings = NetworkSettings()
    limits: LimitSettings = LimitSettings()
    max_download_bytes: int = Field(2 * 1024**3, gt=0)
    """The largest result file to accept, in bytes."""
    webhook_marker_base: Annotated[str, BeforeValidator(_without_blanks), AfterValidator(_plain_url)] = (
        "https://callsheet.invalid"
    )
    """Where a marker points when no callback is wanted: Creatify echoes it, so that a lost submission is found again."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: the sources are read in ``load_settings``, which remembers where a value came from."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    def provider(self, name: str) -> Provider:
        """One provider's settings. Raises ``SettingsError`` for a name nobody knows."""
        if name not in REQUIRED:
            raise SettingsError(f"there is no provider {name!r}", source="", hint=f"Known: {', '.join(REQUIRED)}.")
        group: Provider = getattr(self, name)
        return group

    def credentials(self, name: str) -> Mapping[str, str]:
        """One provider's credentials that are set, in clear. For its adapter only."""
        group = self.provider(name)
        found = ((field, getattr(group, field)) for field in type(group).model_fields)
        return {field: value.get_secret_value() for field, value in found if isinstance(value, SecretStr)}

    def credentials_problem(self, name: str) -> str | None:
        """What is missing before ``name`` can be called, naming the variables to set; None when nothing is."""
        have = self.credentials(name)
        ways = REQUIRED[name]
        if any(all(field in have for field in way) for way in ways):
            return None
        wanted = ", or ".join(" and ".join(variable(name, field) for field in way) for way in ways)
        used = [variable(name, field) for field in have if any(field in way for way in ways)]
        state = f"only {' and '.join(used)} is set" if used else "none of them is set"
        return f"{name} has no usable credentials: {state}. Set {wanted}."

    def secrets(self) -> tuple[str, ...]:
        """Every secret value in force, longest first, for ``Redactor``."""
        found = {value for name in REQUIRED for value in self.credentials(name).values()}
        return tuple(sorted(found, key=lambda value: (-len(value), value)))


def variable(*path: str) -> str:
    """The name of a setting's variable: ``variable("kling", "api_key")`` is ``CALLSHEET_KLING__API_KEY``."""
    return PREFIX + "__".join(path).upper()


def variables() -> tuple[str, ...]:
    """The name of every variable there is."""
    return (*_LEAVES, SECRETS_DIR)


def _leaves() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, _Group):
            yield from (variable(name, inner) for inner in kind.model_fields)
        else:
            yield variable(name)


_LEAVES = tuple(_leaves())


@dataclass(frozen=True, slots=True)
class _Found:
    """A value and where it stood."""

    name: str
    value: str
    source: str


def load_settings(root: Path, *, secrets_dir: Path | None = None) -> Settings:
    """Settings from, in falling order: environment, ``.env`` in ``root``, ``.env`` in the working folder, secrets folder
    (``secrets_dir``, else ``CALLSHEET_SECRETS_DIR``). Empty values count as not set.

    Raises ``SettingsError`` naming every variable that is unknown or wrong, never its value.
    """
    found: dict[str, _Found] = {}
    _add(found, _from_environment())
    for file in env_files(root):
        _add(found, _from_env_file(file))
    named = found.get(SECRETS_DIR)
    place = secrets_dir or (Path(named.value).expanduser() if named else None)
    if place is not None:
        _add(found, _without_limits(_from_folder(place)))
    _refuse_unknown(found)
    return _build(found)


def load_limits(root: Path) -> InputLimits:
    """The limits alone, from the environment and the ``.env`` files that ``load_settings`` reads; other settings are not looked at.

    Raises ``SettingsError`` naming every limit that is unknown or wrong.
    """
    found: dict[str, _Found] = {}
    for sources in (_from_environment(), *map(_from_env_file, env_files(root))):
        _add(found, (one for one in sources if one.name.startswith(LIMIT_PREFIX.rstrip("_"))))
    _refuse_unknown(found)
    return InputLimits(**_build(found).limits.model_dump())


def rehearsal_settings(address: str) -> Settings:
    """Settings for a rehearsal against the simulator at ``address``: invented credentials, its URLs, and of the environment
    only the limits. Raises ``SettingsError``.
    """
    found: dict[str, _Found] = {}
    _add(found, (one for one in _from_environment() if one.name in _RUNNER_WIDE))
    base = address.rstrip("/")
    for provider, credentials in _REHEARSAL.items():
        for field, value in {**credentials, "base_url": f"{base}/{provider}"}.items():
            found[variable(provider, field)] = _Found(variable(provider, field), value, "rehearsal")
    return _build(found)


_RUNNER_WIDE = frozenset(name for name in _LEAVES if not any(name.startswith(variable(p, "")) for p in REQUIRED))

_SECRET_NAMES = frozenset(name for name in _LEAVES if name not in _RUNNER_WIDE and not name.endswith("__BASE_URL"))
"""Variables whose values are credentials."""

_REHEARSAL: Mapping[str, Mapping[str, str]] = {
    "kling": {"access_key": "rehearsal-access-key", "secret_key": "rehearsal-secret-key-0123456789abcdef"},
    "creatify": {"api_id": "rehearsal-id", "api_key": "rehearsal-key"},
    "topview": {"api_key": "rehearsal-key", "uid": "rehearsal-uid"},
    "akool": {"client_id": "rehearsal-client-id-0001", "client_secret": "rehearsal-secret-0000001"},
}
"""What the simulator accepts. No secrets: anybody may know them."""


def _add(found: dict[str, _Found], more: Iterator[_Found]) -> None:
    """Keep what is there; empty values are as good as none."""
    for one in more:
        if one.value.strip():
            found.setdefault(one.name, one)


def _from_environment() -> Iterator[_Found]:
    for name, value in os.environ.items():
        if name.upper().startswith(PREFIX):
            yield _Found(name.upper(), value, "the environment")


def _from_env_file(file: Path) -> Iterator[_Found]:
    if not file.is_file():
        return
    try:
        values = dotenv_values(file, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("cannot be read as UTF-8 text", source=str(file), hint="Save it as UTF-8.") from error
    for name, value in values.items():
        if name.upper().startswith(PREFIX) and value is not None:
            yield _Found(name.upper(), value, str(file))


def _from_folder(folder: Path) -> Iterator[_Found]:
    hint = "Name a folder that holds one file per variable."
    if not folder.is_dir():
        raise SettingsError(f"the secrets folder {folder} does not exist", source=str(folder), hint=hint)
    try:
        files = sorted(f for f in folder.iterdir() if f.name.upper().startswith(PREFIX) and f.is_file())
        for file in files:
            if file.stat().st_size > _BIGGEST_SECRET_FILE:
                raise SettingsError(f"{file.name} is too large for a secret", source=str(file), hint=hint)
            yield _Found(file.name.upper(), file.read_text("utf-8-sig"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("the secrets folder cannot be read", source=str(folder), hint=hint) from error


def _without_limits(secrets: Iterator[_Found]) -> Iterator[_Found]:
    """Limits are no secrets, and count before the secrets folder is known."""
    for one in secrets:
        if one.name.startswith(LIMIT_PREFIX):
            hint = "Set it in the environment or in .env."
            raise SettingsError(f"{one.name} (in {one.source}) is a limit, not a secret", source=one.source, hint=hint)
        yield one


def _refuse_unknown(found: Mapping[str, _Found]) -> None:
    unknown = [one for name, one in found.items() if name not in variables()]
    if not unknown:
        return
    lines = [f"{one.name} (in {one.source}) is no setting{_guess(one.name)}" for one in unknown]
    hint = "Correct or remove it. A known one: CALLSHEET_KLING__API_KEY." if len(unknown) == 1 else "Correct or remove them."
    raise SettingsError("; ".join(lines), source=unknown[0].source, hint=hint)


def _guess(name: str) -> str:
    close = difflib.get_close_matches(name, variables(), n=1, cutoff=0.75)
    return f": did you mean {close[0]}?" if close else ""


_secrets_read: set[str] = set()


def secrets_read() -> frozenset[str]:
    """Every credential that this process has read from anywhere, for taking them out of what is printed and saved."""
    return frozenset(_secrets_read)


def _build(found: Mapping[str, _Found]) -> Settings:
    _secrets_read.update(one.value.strip() for name, one in found.items() if name in _SECRET_NAMES)
    source = EnvSettingsSource(Settings, case_sensitive=False)
    source.env_vars = {name.lower(): one.value.strip() for name, one in found.items()}
    values: dict[str, Any] = source()
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = [(variable(*(str(part) for part in one["loc"])), one["msg"]) for one in error.errors(include_input=False)]
    sources = [found[name].source if name in found else "" for name, _ in problems]
    lines = [
        f"{name} (in {source}) {_plain(text)}" if source else f"{name} {_plain(text)}"
        for (name, text), source in zip(problems, sources, strict=True)
    ]
    raise SettingsError("; ".join(lines), source=sources[0], hint="Correct it and run again.")


def _plain(text: str) -> str:
    """The message of pydantic without its beginnings; it never holds the value."""
    text = text.removeprefix("Value error, ")
    return f"is wrong: {text[0].lower()}{text[1:]}" if text.startswith("Input should") else text


# ------------------------------------------------------------------------------------------------------ redaction

HIDDEN = "[redacted]"
_SHORTEST_SECRET = 8
"""A shorter value would hide half of any text by accident; such ones are hidden under their keys only."""
_DEEPEST = 200

_TELLING_KEY = re.compile(
    r"(authorization|apikey|apiid|accesskey(id)?|secretkey|secret|token|signature|password|passwd|passphrase|credentials?"
    r"|cookie|privatekey|clientsecret|xamzsecuritytoken|dataencrypt|jwt|sig)$"
)
_TELLING_WORDS = (
    r"(?:proxy-)?authorization|[\w-]*api[-_]?(?:key|id)|[\w-]*access[-_]?key(?:[-_]?id)?|[\w-]*secret(?:[-_]?key)?|[\w-]*token"
    r"|[\w-]*signature|[\w-]*password|passwd|(?:set-)?cookie|[\w-]*credential"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<![\w-])eyJ[\w-]{4,}\.[\w-]{4,}(\.[\w-]*)?"), HIDDEN),
    (re.compile(r"(https?://)[^\s/?#@\"'<>]+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"\?[^\s\"'<>#?]*(?:signature|credential|security-token|accesskeyid|key-pair-id|auth_key|sig|token|policy)="
            r"[^\s\"'<>#]*",
            re.IGNORECASE,
        ),
        f"?{HIDDEN}",
    ),
    (re.compile(r"\b(bearer|basic)\s+(?=\S*[0-9]|\S{24})[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b((?:set-)?cookie\s*[:=]\s*)[^\r\n\"']+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (
        re.compile(rf"(?<![\w-])(\\?[\"']?(?:{_TELLING_WORDS})\\?[\"']?\s*[:=]\s*)(\\?[\"'])([^\"'\\]+)", re.IGNORECASE),
        rf"\1\2{HIDDEN}",
    ),
    (
        re.compile(
            rf"(?<![\w-])((?:{_TELLING_WORDS})\s*[:=]\s*(?:(?:bearer|basic)\s+)?)(?![\"'\[\\\s])[^\s,;&\"']+", re.IGNORECASE
        ),
        rf"\1{HIDDEN}",
    ),
)
"""What gives a secret away: a token's form, a URL with a user name, a signed query, a telling name before a value. Each begins
at a word's beginning or at a rare character, so that long hostile text takes linear time."""


class Redactor:
    """Takes secrets out of text and of JSON: those it is told, by value, and what looks like one, by its key or form.

    A value is found as it is, percent-encoded, JSON-escaped, and inside base64 at any offset.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST_SECRET for form in _forms(secret)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._values = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def values(self, text: str) -> str:
        """The text without the secrets that it was told, and otherwise as it is: JSON stays JSON."""
        return self._values.sub(HIDDEN, text) if self._values is not None else text

    def tree(self, document: JSON) -> JSON:
        """The document without secrets, of the same shape; what stands under a telling key is hidden whole."""
        return self._tree(document, 0)

    def _tree(self, node: JSON, depth: int) -> JSON:
        if depth > _DEEPEST:
            return HIDDEN
        if isinstance(node, str):
            return self.text(node)
        if isinstance(node, Mapping):
            return {self._name(key): self._under(key, value, depth) for key, value in node.items()}
        if isinstance(node, Sequence):
            return [self._tree(value, depth + 1) for value in node]
        if node is None or isinstance(node, bool) or self._values is None:
            return node
        return HIDDEN if self._values.search(str(node)) else node

    def _name(self, key: str) -> str:
        return self._values.sub(HIDDEN, key) if self._values is not None else key

    def _under(self, key: str, value: JSON, depth: int) -> JSON:
        if value is None or isinstance(value, bool) or value == "":
            return value
        if _TELLING_KEY.search(re.sub(r"[^a-z0-9]", "", str(key).lower())):
            return HIDDEN
        return self._tree(value, depth + 1)


def _forms(secret: str) -> Iterator[str]:
    """The ways in which a secret is written down."""
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    yield quote(secret, safe="").lower()
    yield json.dumps(secret)[1:-1]
    for offset in range(3):
        inside = _inside_base64(secret.encode(), offset)
        if len(inside) >= _SHORTEST_SECRET:
            yield inside
            yield inside.replace("+", "-").replace("/", "_")


def _inside_base64(secret: bytes, offset: int) -> str:
    """The characters that ``secret`` alone decides when it stands ``offset`` bytes into a base64 group."""
    text = base64.b64encode(b"\0" * offset + secret).decode("ascii")
    undecided = (offset + len(secret)) % 3
    text = text.rstrip("=")
    return text[(0, 2, 3)[offset] : len(text) - (1 if undecided else 0)]
