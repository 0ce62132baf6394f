"""Folders on the Hugging Face hub, `hf://owner/name[/folder]`: downloaded into the hub's own cache, once."""

from pathlib import Path
from typing import Any

from muscle_torch.errors import InputError

PREFIX = "hf://"


def is_hub(where: str) -> bool:
    return where.startswith(PREFIX)


def download(where: str, revision: str = "", kind: str = "model") -> Path:
    """The local copy of `hf://owner/name[/folder]`.

    revision: branch, tag or commit; empty: the newest. kind: "model" or "dataset". Raises InputError, in one line,
    where the address, the access or the connection is not good.
    """
    owner, name, folder = _parts(where)
    repo = f"{owner}/{name}"
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repo}"
    hub = _hub()
    try:
        patterns = [f"{folder}/*"] if folder else None
        root = hub.snapshot_download(repo, repo_type=kind, revision=revision or None, allow_patterns=patterns)
    except hub.errors.GatedRepoError:
        raise InputError(
            f"{repo} is gated: accept its terms at {page}, then log in with `hf auth login` (or set HF_TOKEN)"
        ) from None
    except hub.errors.RepositoryNotFoundError:
        raise InputError(f"{repo} not found: check the name at {page}; a private one needs `hf auth login`") from None
    except hub.errors.RevisionNotFoundError:
        raise InputError(f"{repo} has no revision {revision!r}: see {page}/tree/main") from None
    except (hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{repo} could not be downloaded from {page}: {reason}") from None
    path = Path(root) / folder
    if not path.is_dir():
        raise InputError(f"{repo} has no folder {folder!r}: see {page}/tree/main")
    return path


def _parts(where: str) -> tuple[str, str, str]:
    """Owner, name, folder."""
    parts = [part for part in where.removeprefix(PREFIX).split("/") if part]
    if not is_hub(where) or len(parts) < 2 or ".." in parts:
        raise InputError(f"cannot read {where!r}: write hf://owner/name or hf://owner/name/folder")
    return parts[0], parts[1], "/".join(parts[2:])


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ModuleNotFoundError:
        raise InputError("hf:// addresses need huggingface_hub: pip install 'muscle_torch[hub]'") from None
    return huggingface_hub
