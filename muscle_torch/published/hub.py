"""Download folders from the Hugging Face hub, `hf://owner/name[/folder]`, into the hub's cache."""

from pathlib import Path
from typing import Any

from muscle_torch.errors import InputError

PREFIX = "hf://"


def is_hub(address: str) -> bool:
    """Return whether an address begins with `hf://`."""
    return address.startswith(PREFIX)


def download(address: str, revision: str = "", kind: str = "model") -> Path:
    """Return the local copy of a hub folder, downloading it if necessary.

    Args:
        address: `hf://owner/name[/folder]`.
        revision: Branch, tag or commit; empty: the newest.
        kind: "model" or "dataset".

    Raises:
        InputError: The address is invalid, access is denied, or the download fails.
    """
    owner, name, folder = _parts(address)
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


def _parts(address: str) -> tuple[str, str, str]:
    """Return owner, name and folder of an address."""
    parts = [part for part in address.removeprefix(PREFIX).split("/") if part]
    if not is_hub(address) or len(parts) < 2 or ".." in parts:
        raise InputError(f"cannot read {address!r}: write hf://owner/name or hf://owner/name/folder")
    return parts[0], parts[1], "/".join(parts[2:])


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ModuleNotFoundError:
        raise InputError("hf:// addresses need huggingface_hub: pip install 'muscle_torch[hub]'") from None
    return huggingface_hub
