"""Models from the package, from a folder or from the Hugging Face Hub, and back to the Hub.

What comes from outside the package is not trusted. A model is two files: config.json, from which the network is
described, and model.safetensors, from which nothing but tensors can be read. The network is built without memory
first (on torch's meta device) and compared with the file's header, so that a file of the wrong kind, or a config.json
that asks for terabytes, is refused before anything is allocated. Pickles are never opened.

Importing this module imports neither torch nor huggingface_hub.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from colorizer.dials import BALANCE, COLORFULNESS, RESTRAINT, TEMPERATURE, WORKING_SIZE
from colorizer.errors import ColorizerError

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoUrl

    from colorizer.models import Colorizer

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT_MODEL = "fusion_compact"

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
FILES = {CONFIG_FILE: 1_000_000, WEIGHTS_FILE: 2_000_000_000}  # what a model is, and the most bytes taken of each
MAX_HEADER = 16_000_000  # bytes of the safetensors header; ours have some 100 kB
MAX_NUMBER = 4096  # of a constructor's argument: channels, pixels
MAX_ITEMS, MAX_NAMES = 64, 1000  # of an argument that is a list, and of one of names alone: classes
LONGEST_NAME = 200  # characters of an argument that is a text, such as a class
MOST_REASON = 250  # characters of what a constructor has against its arguments
HUB_TIMEOUT = 10.0  # seconds to wait for the Hub before the cache is used
MOST_COMMITS = 3  # that are fetched one after the other where a repository changes meanwhile

# A card with this line was written by us, and is written anew when the model is pushed under its own name.
CARD_MARK = "<!-- Written by colorizer. Remove this line to keep your changes when the model is pushed. -->"
# The trainer's card has this one: it goes along with its own model, and is written over by other models' cards.
RUN_MARK = "<!-- Written by the trainer. Remove this line to keep your changes when another model is pushed. -->"

logger = logging.getLogger(__name__)


def bundled_models() -> list[str]:
    """Names of the models whose weights come with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{CONFIG_FILE}"))


def bundled_config(name: str) -> dict:
    """The config.json of a bundled model."""
    return json.loads((WEIGHTS / name / CONFIG_FILE).read_text())


def load_model(
    source: str | os.PathLike | None = None, revision: str | None = None, token: str | bool | None = None
) -> Colorizer:
    """A trained model in eval mode, in float32, on the CPU.

    Args:
        source: a bundled name, a folder, or a Hub repository 'user/repo', looked up in that order; None is the
            bundled default.
        revision: branch, tag or commit of a Hub repository; None is its main branch.
        token: Hub token; None uses the one that `hf auth login` or HF_TOKEN gave, False uses none.

    Returns:
        The model; its `source` says where it came from: "fusion_compact (bundled)", the folder, or
        "user/repo @ 1234abc".

    Raises:
        ColorizerError: in one sentence, for everything that can be wrong with the source.
    """
    _check_revision(revision)
    name = DEFAULT_MODEL if source is None else os.fspath(source)
    if not name:  # of a variable that is not set: not the folder that one is in, as pathlib takes it
        raise ColorizerError("The name of the model is empty: name a bundled model, a folder or a Hub repository.")
    folder = _folder(name)
    if name in bundled_models():
        folder, label = WEIGHTS / name, f"{name} (bundled)"
    elif os.path.isdir(folder):  # pathlib's raises an OSError for a name too long
        label = str(folder)
    elif os.path.isfile(folder):
        raise ColorizerError(f"{name} is a file; name the folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}.")
    elif isinstance(source, str) and is_repo_id(source):
        folder, sha = _fetch(source, revision, _checked_token(token))
        return _load_folder(folder, source, f"{source} @ {sha[:7]}")
    else:
        raise ColorizerError(
            f"There is no model {name!r}: it is no bundled model ({', '.join(bundled_models()) or 'there are none'}), "
            "no folder, and no Hub repository such as 'user/repo'."
        )
    if revision is not None:
        raise ColorizerError(f"A revision ({revision!r}) means something for a Hub repository only; {label} is none.")
    return _load_folder(folder, str(folder), label)


def push(
    folder_or_model: str | os.PathLike | Colorizer,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    extra_files: Sequence[str | os.PathLike] = (),
) -> str:
    """Uploads a model to the Hub as one commit, after loading it strictly; makes the repository if there is none.

    Args:
        folder_or_model: a folder with config.json and model.safetensors, a bundled name (unless a folder here has it
            too), or a model. A README.md that a person has written goes along as it is. The trainer's, or a short
            model card where there is none, goes along unless a person has written what is on the Hub.
        repo_id: 'user/repo'.
        private: whether a new repository is private; None leaves it to the account's setting.
        token: Hub token with write access; None uses the one that `hf auth login` or HF_TOKEN gave.
        revision: branch to push to, made from main if there is none; None is main.
        commit_message: one line.
        extra_files: more files that go along, under their own names.

    Returns:
        The address of the model's page.

    Raises:
        ColorizerError: in one sentence; if the upload failed, it says how to repeat it.
    """
    if not is_repo_id(repo_id):
        raise ColorizerError(f"{repo_id!r} is no name for a Hub repository: it looks like 'user/repo'.")
    token = _checked_token(token)
    _check_revision(revision)
    for file in extra_files:
        if not os.path.isfile(file):
            raise ColorizerError(f"There is no file {os.fspath(file)} to push along.")
    if not isinstance(folder_or_model, (str, os.PathLike)):
        with tempfile.TemporaryDirectory() as scratch:
            folder_or_model.save_pretrained(scratch)
            folder, again = Path(scratch), "the model is as it was"
            return _upload(folder, "The model", repo_id, private, token, revision, commit_message, again, extra_files)
    name = os.fspath(folder_or_model)
    if not name:
        raise ColorizerError("The name of the folder to push is empty.")
    is_bundled = isinstance(folder_or_model, str) and name in bundled_models()  # a Path is a folder
    if is_bundled and os.path.isdir(_folder(name)):  # what goes out must not be a guess
        raise ColorizerError(f"{name} is a bundled model and a folder here: write ./{name} for the folder.")
    folder = WEIGHTS / name if is_bundled else _folder(name)
    if not os.path.isdir(folder):
        raise ColorizerError(f"There is no folder {name} to push.")
    flags = (["--private"] if private else []) + ([] if revision is None else ["--revision", revision])
    again = f"{name} is as it was, and `{shlex.join(['colorizer', 'push', name, repo_id, *flags])}` repeats it"
    return _upload(folder, name, repo_id, private, token, revision, commit_message, again, extra_files)


def check_token(repo_id: str, token: str | None = None) -> None:
    """Asks the Hub who the token belongs to, for those who will push to `repo_id` in a few hours.

    Raises ColorizerError, in one sentence, when there is no token, the Hub does not accept it or cannot be reached.
    """
    from huggingface_hub import HfApi, get_token

    if not is_repo_id(repo_id):
        raise ColorizerError(f"{repo_id!r} is no name for a Hub repository: it looks like 'user/repo'.")
    token = _checked_token(token)
    if not (token or get_token()):
        raise ColorizerError(f"Pushing to {repo_id} needs a token: log in with `hf auth login`, or set HF_TOKEN.")
    try:
        HfApi(token=token).whoami()
    except Exception as error:  # the client raises its own and its HTTP library's
        if isinstance(error, (KeyError, json.JSONDecodeError)):
            error = _NotAHub()
        raise ColorizerError(f"{_explain(error, repo_id, None, token)}.") from error


# ---------------------------------------------------------------------------------------------- a folder, strictly


def _folder(name: str) -> Path:
    """The path, with ~ as the home folder; as it is where that is nobody's (pathlib would raise RuntimeError)."""
    return Path(os.path.expanduser(name))


def _load_folder(folder: Path, where: str, label: str) -> Colorizer:
    """The model in a folder. `where` begins the errors: the folder's path or the repository's name."""
    import numpy as np
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for file, limit in FILES.items():
        try:
            if not (folder / file).is_file():
                raise ColorizerError(f"{where} is no colorizer: it has no {file}.")
            with (folder / file).open("rb") as opened:
                size = os.fstat(opened.fileno()).st_size
        except OSError as error:
            raise ColorizerError(f"{where}: {file} cannot be read ({error.strerror}).") from error
        _check_size(where, file, size, limit)

    cls, arguments, defaults = _read_config(folder / CONFIG_FILE, where)
    with _building(where), torch.device("meta"):
        blueprint = cls(**arguments)
    if (defaults["temperature"] is None) == blueprint.has_distribution:
        raise ColorizerError(
            f"{where}: the default temperature in {CONFIG_FILE} must be "
            f"{'a number' if blueprint.has_distribution else 'null'} for this model."
        )
    _check_header(folder / WEIGHTS_FILE, blueprint, where)

    with _building(where), torch.device("cpu"), _no_random_init():
        model = cls(**arguments)
    try:
        # float16 becomes float32 here: load_state_dict copies into the tensors that are there.
        model.load_state_dict(load_file(folder / WEIGHTS_FILE), strict=True)
    except (RuntimeError, SafetensorError, OSError) as error:
        raise ColorizerError(f"{where}: {WEIGHTS_FILE} cannot be read ({_first_line(error)}).") from error
    # In numpy, on one thread: a few hundred small tensors are slower in torch where others use the cores too.
    if not all(np.isfinite(tensor.numpy()).all() for tensor in model.state_dict().values()):
        raise ColorizerError(f"{where}: {WEIGHTS_FILE} holds values that are no numbers (NaN or infinite).")
    model.defaults = defaults
    model.source = label
    return model.eval()


def _read_config(path: Path, where: str) -> tuple[type[Colorizer], dict, dict]:
    """The class, its constructor's arguments and the default dials that config.json names, all of them checked."""
    from colorizer.models import model_class
    from colorizer.models.base import FORMAT

    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ColorizerError(f"{where}: {CONFIG_FILE} is no valid JSON ({_first_line(error)}).") from error
    if not isinstance(config, dict) or not {"format", "model", "defaults"} <= config.keys():
        raise ColorizerError(f"{where} is no colorizer: its {CONFIG_FILE} lacks 'format', 'model' or 'defaults'.")
    version, name, defaults = config.pop("format"), config.pop("model"), config.pop("defaults")
    if type(version) is not int or version < 1:
        raise ColorizerError(f"{where}: the format in {CONFIG_FILE} is {_show(version)}; it must be {FORMAT}.")
    if version > FORMAT:
        raise ColorizerError(f"{where} was made by a newer colorizer (format {version}): update colorizer.")
    if not isinstance(name, str):
        raise ColorizerError(f"{where}: the model in {CONFIG_FILE} is {_show(name)}; it must be a name.")
    try:
        cls = model_class(name)
    except ColorizerError as error:
        raise ColorizerError(f"{where}: {error}") from error

    known = inspect.signature(cls.__init__).parameters.keys() - {"self"}
    for key, value in config.items():
        if key not in known:
            raise ColorizerError(f"{where}: {CONFIG_FILE} has {_show(key)}, which a {name} model does not take.")
        items = value if isinstance(value, list) else [value]
        most = MAX_NAMES if all(isinstance(item, str) for item in items) else MAX_ITEMS
        if len(items) > most or not all(map(_is_plain, items)):
            raise ColorizerError(f"{where}: {key} in {CONFIG_FILE} is {_show(value)}, which it cannot be.")
    if config.get("pretrained"):
        raise ColorizerError(f"{where}: {CONFIG_FILE} asks for pretrained weights; a model's weights are in its file.")
    return cls, config, check_defaults(defaults, where)


def _is_plain(value) -> bool:
    """Whether a JSON value is one that a constructor may be given: a scalar, within reason."""
    if isinstance(value, str):
        return len(value) <= LONGEST_NAME
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return abs(value) <= MAX_NUMBER  # which NaN is not
    return value is None or isinstance(value, bool)


def check_defaults(defaults, where: str) -> dict:
    """The dials of a config.json: numbers in the ranges that the pipeline takes; balance and restraint may be absent.

    Raises ColorizerError, beginning with `where`, for any that is none.
    """
    needed = {"working_size": WORKING_SIZE, "temperature": TEMPERATURE, "colorfulness": COLORFULNESS}
    ranges = needed | {"balance": BALANCE, "restraint": RESTRAINT}
    if not isinstance(defaults, dict) or not needed.keys() <= defaults.keys() <= ranges.keys():
        raise ColorizerError(
            f"{where}: the defaults in {CONFIG_FILE} must be {', '.join(needed)}, perhaps balance, perhaps restraint, "
            "and no more."
        )
    for key, value in defaults.items():
        low, high = ranges[key]
        if key == "temperature" and value is None:  # a model without a distribution has none
            continue
        kinds = int if key == "working_size" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            raise ColorizerError(
                f"{where}: the default {key} in {CONFIG_FILE} is {_show(value)}; it must be from {low} to {high}."
            )
    return defaults


def _check_header(path: Path, blueprint: Colorizer, where: str) -> None:
    """Compares the names, shapes and types in a safetensors header with the network; reads no tensor."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise ColorizerError(f"{where}: {WEIGHTS_FILE} is a Git LFS pointer; `git lfs pull` gets the weights.")
    if start.lstrip()[:1] == b"<" and start[8:9] != b"{":  # a header's length can begin so too
        raise ColorizerError(f"{where}: {WEIGHTS_FILE} is a web page, not weights.")
    if int.from_bytes(start[:8], "little") > min(MAX_HEADER, path.stat().st_size):
        raise ColorizerError(f"{where}: {WEIGHTS_FILE} is no safetensors file, or was cut short.")
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            found = {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ColorizerError(f"{where}: {WEIGHTS_FILE} is damaged or cut short ({_first_line(error)}).") from error

    wanted = blueprint.state_dict()
    if missing := sorted(wanted.keys() - found.keys()):
        raise ColorizerError(f"{where}: {WEIGHTS_FILE} lacks {_count(missing)} of the model {blueprint.name}.")
    if unexpected := sorted(found.keys() - wanted.keys()):
        raise ColorizerError(
            f"{where}: {WEIGHTS_FILE} has {_count(unexpected)} unknown to the model {blueprint.name}."
        )
    for name, tensor in wanted.items():
        shape, dtype = found[name]
        if shape != tuple(tensor.shape):
            raise ColorizerError(
                f"{where}: {name} in {WEIGHTS_FILE} has the shape {shape} and should have {tuple(tensor.shape)}."
            )
        # Anything but a float (a counter, a table of indices) is taken over as it is.
        allowed = ("F16", "BF16", "F32") if tensor.is_floating_point() else (_DTYPES.get(str(tensor.dtype)),)
        if dtype not in allowed:
            raise ColorizerError(f"{where}: {name} in {WEIGHTS_FILE} has the type {dtype}, which it cannot be.")

    # What is not in the file is small: tables that the constructor computes.
    extra = sum(buffer.nbytes for name, buffer in blueprint.named_buffers() if name not in wanted)
    _check_size(where, f"tables besides {WEIGHTS_FILE}", extra, 100_000_000)


_DTYPES = {"torch.int64": "I64", "torch.int32": "I32", "torch.uint8": "U8", "torch.int8": "I8", "torch.bool": "BOOL"}


def _check_size(where: str, file: str, size: int, limit: int) -> None:
    if size > limit:
        raise ColorizerError(f"{where}: {file} has {size / 1e6:,.1f} MB, and the limit is {limit / 1e6:,.0f} MB.")


@contextmanager
def _building(where: str) -> Iterator[None]:
    """Tells what a constructor has against its arguments, in one sentence."""
    try:
        yield
    except Exception as error:  # a constructor may fail in any way on arguments that it was not made for
        reason = (str(error) if isinstance(error, ColorizerError) else _first_line(error)).rstrip(".")
        reason = reason if len(reason) <= MOST_REASON else f"{reason[:MOST_REASON]}..."  # it may repeat a whole list
        raise ColorizerError(f"{where}: no model can be built from {CONFIG_FILE}: {reason}.") from error


@contextmanager
def _no_random_init() -> Iterator[None]:
    """Modules built inside keep uninitialized memory where they would draw random weights, which takes most of the
    time of building them. Only for a model that is filled, strictly, right after. Tables (non-persistent buffers) are
    computed as usual: none is drawn at random."""
    from torch.overrides import TorchFunctionMode

    class Skip(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if getattr(function, "__name__", "") in ("uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_"):
                return args[0] if args else kwargs["tensor"]
            return function(*args, **kwargs)

    with Skip():
        yield


# ---------------------------------------------------------------------------------------------------- from the Hub


class _NotAHub(Exception):
    """The answer is not one of a Hub: a login page, a proxy's message."""


def _fetch(repo_id: str, revision: str | None, token: str | bool | None) -> tuple[Path, str]:
    """The cached folder of a repository at a revision, and the commit's sha. Asks the Hub, and downloads what is
    missing; when the Hub cannot be reached, what was fetched before serves."""
    try:
        return _download(repo_id, revision, token)
    except ColorizerError:
        raise
    except Exception as error:
        reason = _explain(error, repo_id, revision, token)
        if _is_unreachable(error):
            if cached := _cached(repo_id, revision):
                if not _is_offline():
                    logger.warning("%s; %s is used as it was fetched before.", reason, repo_id)
                return cached
            at = f" at the revision {revision}" if revision else ""
            reason += f", and {repo_id} was not fetched{at} before"
        raise ColorizerError(f"{reason}.") from error


def _download(repo_id: str, revision: str | None, token: str | bool | None) -> tuple[Path, str]:
    for _ in range(MOST_COMMITS):
        folder, sha = _download_commit(repo_id, revision, token)
        # Again by the revision's name, so that the cache knows what that stands for when the Hub is down. Last: until
        # both files are there, it is to stand for the commit before.
        if _move_name(repo_id, revision, token) in (None, sha):
            return folder, sha
    raise ColorizerError(f"{repo_id} changed while it was fetched: try again.")


def _move_name(repo_id: str, revision: str | None, token: str | bool | None) -> str | None:
    """Has the cache learn which commit a revision's name stands for; its sha, or None if the Hub is gone by now."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo_id, CONFIG_FILE, revision=revision, token=token)).parent.name
    except Exception as error:
        if _is_unreachable(error):
            return None
        raise


def _download_commit(repo_id: str, revision: str | None, token: str | bool | None) -> tuple[Path, str]:
    """The cached folder of the commit that a revision stands for, and its sha; downloads what is missing."""
    from huggingface_hub import HfApi, hf_hub_download

    try:
        info = HfApi(token=token).model_info(repo_id, revision=revision, files_metadata=True, timeout=HUB_TIMEOUT)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise _NotAHub from error
    listed = {file.rfilename: file for file in info.siblings or []}
    for file, limit in FILES.items():
        if file not in listed:
            raise ColorizerError(f"{repo_id} is no colorizer: it has no {file}.")
        if listed[file].size is None:
            raise _NotAHub
        _check_size(repo_id, file, listed[file].size, limit)

    for file in FILES:
        path = Path(hf_hub_download(repo_id, file, revision=info.sha, token=token))
        if _checksum(path, bool(listed[file].lfs)) != (listed[file].lfs or {}).get("sha256", listed[file].blob_id):
            # The client checks the size alone. Left in the cache, the file would be taken for good the next time.
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise ColorizerError(f"{repo_id}: {file} is not what the Hub says it is (wrong checksum): try again.")
    return path.parent, info.sha


def _checksum(path: Path, large: bool) -> str:
    """The Hub's name for a file's content: SHA-256 of a large file, git's SHA-1 of a small one."""
    with path.open("rb") as file:
        if large:
            return hashlib.file_digest(file, "sha256").hexdigest()
        content = file.read()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _cached(repo_id: str, revision: str | None) -> tuple[Path, str] | None:
    """What an earlier _download left for the revision, complete, or None."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo_id, CONFIG_FILE, revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return (folder, folder.name) if (folder / WEIGHTS_FILE).is_file() else None


def is_repo_id(name: str) -> bool:
    """Whether this is the name of a Hub repository with its owner, "user/repo"."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def _checked_token(token: str | bool | None) -> str | bool | None:
    """The token without the white space around it, as a file has it; ColorizerError for a text that can be none.

    In a request's header the client could not send it, and would say that the Hub cannot be reached.
    """
    if not isinstance(token, str):
        return token
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ColorizerError("The token is empty or no token: give one of the Hub's, or none for the one you saved.")
    return token


def _check_revision(revision: str | None) -> None:
    if revision is not None and not revision.strip():
        raise ColorizerError("The revision is empty: name a branch, a tag or a commit, or leave it out.")


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _is_transport(error: Exception) -> bool:
    """Whether a request got no answer: huggingface_hub's HTTP client is httpx before 2.0, httpx2 since."""
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2")


def _is_unreachable(error: Exception) -> bool:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return _is_transport(error) or isinstance(error, (_NotAHub, OfflineModeIsEnabled, LocalEntryNotFoundError))


def _explain(error: Exception, repo_id: str, revision: str | None, token: str | bool | None) -> str:
    """What went wrong between here and the Hub: a sentence without its period."""
    from huggingface_hub import constants, errors, get_token

    hub = constants.ENDPOINT
    login = "(`hf auth login` or HF_TOKEN)"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so the Hub is not asked"
    if isinstance(error, errors.GatedRepoError):
        return f"{repo_id} is gated: ask for access at {hub}/{repo_id}, and log in {login}"
    if isinstance(error, errors.RepositoryNotFoundError):
        if token is not False and (token or get_token()):
            return f"There is no folder and no Hub repository {repo_id}, or your token has no access to it"
        return f"There is no folder and no Hub repository {repo_id}, or it is private and you must log in {login}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo_id} has no branch, tag or commit {revision!r}"
    if status == 401:
        return f"The Hub does not accept your token: set another {login}"
    if status == 403:
        return f"Your token does not allow this with {repo_id}"
    if status == 429:
        return "The Hub has had too many requests from here: try again in a few minutes"
    if status is not None:
        return f"The Hub answered with an error ({status}) when asked for {repo_id}: try again later"
    if isinstance(error, (_NotAHub, errors.FileMetadataError)):
        return f"What answers at {hub} is not the Hub (a login page or a proxy?)"
    if _is_transport(error) or isinstance(error, errors.LocalEntryNotFoundError):
        return f"The Hub ({hub}) cannot be reached"
    if "Consistency check failed" in str(error):
        return f"A file of {repo_id} arrived with the wrong size: try again"
    return f"{repo_id} and the Hub: {_first_line(error)}"


# ------------------------------------------------------------------------------------------------------ to the Hub


def _upload(
    folder: Path,
    where: str,
    repo_id: str,
    private: bool | None,
    token: str | bool | None,
    revision: str | None,
    commit_message: str | None,
    again: str,
    extra_files: Sequence[str | os.PathLike] = (),
) -> str:
    """Pushes a folder that must load strictly. `where` begins the errors of the folder, `again` ends those of the
    upload: what is left to do."""
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    model = _load_folder(folder, where, where)
    if not (token or get_token()) or token is False:
        raise ColorizerError(f"Pushing to {repo_id} needs a token: log in with `hf auth login`, or set HF_TOKEN.")
    api = HfApi(token=token)
    operations = [
        CommitOperationAdd(path_in_repo=file, path_or_fileobj=folder / file) for file in (CONFIG_FILE, WEIGHTS_FILE)
    ]
    operations += [CommitOperationAdd(path_in_repo=Path(file).name, path_or_fileobj=file) for file in extra_files]
    try:
        url = make_repo(api, repo_id, private, revision, again)
        card = _card_to_push(folder)
        if card is None:
            card = model_card(model, repo_id).encode()
        if not _is_ours(card) or not has_own_card(repo_id, revision, token):
            operations.append(CommitOperationAdd(path_in_repo=CARD_FILE, path_or_fileobj=card))
        message = commit_message or f"Upload a {model.name} model"
        api.create_commit(repo_id, operations, commit_message=message, revision=revision)
    except ColorizerError:
        raise
    except Exception as error:  # the client raises its own, its HTTP library's, ValueError and OSError
        if isinstance(error, (KeyError, json.JSONDecodeError)):
            error = _NotAHub()
        reason = _explain(error, repo_id, revision, token)
        raise ColorizerError(f"{reason}; {again}.") from error
    return str(url) if revision is None else f"{url}/tree/{revision}"


def make_repo(api: HfApi, repo_id: str, private: bool | None, revision: str | None, again: str) -> RepoUrl:
    """Makes the repository and the branch if they are not there, and gives its address.

    Raises ColorizerError if it is to be private and is public; `again` ends the sentence.
    """
    url = api.create_repo(repo_id, private=private, exist_ok=True)
    if private and not api.model_info(url.repo_id).private:  # it was there before, and stayed as it was
        raise ColorizerError(f"{url.repo_id} is there already, and public: make it private on the Hub; {again}.")
    if revision is not None:
        api.create_branch(url.repo_id, branch=revision, exist_ok=True)
    return url


def _card_to_push(folder: Path) -> bytes | None:
    """The folder's README.md, a person's or the trainer's; None where there is none, or one to be written anew."""
    path = folder / CARD_FILE
    card = path.read_bytes() if path.is_file() else CARD_MARK.encode()
    return None if CARD_MARK.encode() in card else card


def _is_ours(card: bytes) -> bool:
    """Whether a program wrote the card, and nobody has taken its mark out of it."""
    return any(mark.encode() in card for mark in (CARD_MARK, RUN_MARK))


def has_own_card(repo_id: str, revision: str | None, token: str | bool | None) -> bool:
    """Whether a person has written the README.md that is on the Hub, or has taken our mark out of it there."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with tempfile.TemporaryDirectory() as scratch:
        try:
            hf_hub_download(repo_id, CARD_FILE, revision=revision, token=token, local_dir=scratch)
        except RemoteEntryNotFoundError:
            return False
        return not _is_ours((Path(scratch) / CARD_FILE).read_bytes())


def model_card(model: Colorizer, repo_id: str | None = None) -> str:
    """A short model card, with the front matter that the Hub sorts models by."""
    repo_id = repo_id or "user/repo"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    size = f"a `{model.name}` network with {parameters / 1e6:.1f} million parameters"
    if model.kind == "classifier":
        return _classifier_card(model, repo_id, size)
    colors = model.kind == "colorizer"
    tags = "tags:\n- image-colorization\n" if colors else ""
    purpose = PURPOSES[model.domain if colors else model.kind]
    usage = (COLORIZER_USAGE if colors else AUTOENCODER_USAGE).format(repo_id=repo_id, install=INSTALL)
    settings = model.config | (model.defaults if colors else {})  # dials are those of the pipeline
    rows = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
    return f"""---
pipeline_tag: image-to-image
{tags}library_name: colorizer
---
{CARD_MARK}

# {repo_id.split("/")[-1]}

{purpose}: {size}.

{usage}
| setting | value |
|---|---|
{rows}
"""


PURPOSES = {
    "photos": "Colors black-and-white photographs",
    "thumbnails": "Colors black-and-white thumbnails, of some 32 pixels a side",
    "digits": "Paints handwritten digits, white on black, each in the color of its class",
    "autoencoder": "Rebuilds color pictures from a code, and colors nothing",
}
INSTALL = (
    "The package `colorizer` is installed from a clone of the code that trained this model (`pip install .`); "
    "what PyPI has under that name is another one."
)
COLORIZER_USAGE = """```python
from colorizer import ColorizationPipeline

pipe = ColorizationPipeline.from_pretrained("{repo_id}")
pipe("photo.jpg").save("photo.color.jpg")
```

or, from a shell, `colorizer photo.jpg --model {repo_id}`. {install}

The colors are plausible, not the historical ones.
"""
AUTOENCODER_USAGE = """```python
from colorizer import load_model

rebuilt = load_model("{repo_id}")(rgb)  # both sRGB (N, 3, H, W) in 0..1
```

{install}
"""


def _classifier_card(model: Colorizer, repo_id: str, size: str) -> str:
    """model_card of a classifier, which colors nothing and judges those who do."""
    settings = "\n".join(f"| {key} | {value} |" for key, value in model.config.items() if key != "classes")
    names = [name.encode(errors="replace").decode() for name in model.config["classes"]]  # of folders: may be no text
    classes = "\n".join(f"- {name}" for name in names)
    return f"""---
pipeline_tag: image-classification
library_name: colorizer
---
{CARD_MARK}

# {repo_id.split("/")[-1]}

Tells what color photographs show, to judge how well others were recolored: {size}.

```bash
python train/evaluate.py --classifier {repo_id} --model fusion_compact --data photographs/
```

| setting | value |
|---|---|
{settings}

Its classes:

{classes}
"""


# ----------------------------------------------------------------------------------------------------- for sentences


def _first_line(error: BaseException) -> str:
    """The error's first line without its period; its kind if it says nothing."""
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _show(value) -> str:
    """A value from a file that may hold anything, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _count(names: list[str]) -> str:
    """'the tensor a.b', or '12 tensors (a.b first)'."""
    return f"the tensor {_show(names[0])}" if len(names) == 1 else f"{len(names)} tensors ({_show(names[0])} first)"
