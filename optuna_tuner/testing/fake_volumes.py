"""The volumes of pods on a fake node: folders of this host, whose paths take the place of the mounts in commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from optuna_tuner.testing.fake_objects import Object, Objects, part, parts


def mounted(objects: Objects, pod: Object, folder: Path) -> tuple[Mapping[str, str], str]:
    """The host's folder of each mount that is an empty one, a ConfigMap's or a claim's; and what is missing for one."""
    spec, namespace = part(pod, "spec"), str(part(pod, "metadata")["namespace"])
    [container] = parts(spec, "containers")
    places = {str(each["name"]): str(each["mountPath"]) for each in parts(container, "volumeMounts")}
    below = {str(each["name"]): str(each.get("subPath", "")) for each in parts(container, "volumeMounts")}
    found = {}
    for volume in parts(spec, "volumes"):
        name = str(volume["name"])
        own = folder / name
        if "configMap" in volume:
            wanted = str(part(volume, "configMap")["name"])
            known = objects.held.get(("configmaps", namespace, wanted))
            if known is None:
                return {}, f'MountVolume.SetUp failed for volume "{name}" : configmap "{wanted}" not found'
            own.mkdir(parents=True, exist_ok=True)
            for file, text in part(known, "data").items():
                (own / file).write_text(str(text), encoding="utf-8")
        elif "persistentVolumeClaim" in volume:
            claim = str(part(volume, "persistentVolumeClaim")["claimName"])
            own = folder.parent / "claims" / claim / below.get(name, "")
        elif volume.get("emptyDir") != {}:  # of memory, or of another kind
            continue
        own.mkdir(parents=True, exist_ok=True)
        found[places[name]] = str(own)
    return found, ""


def placed(word: str, mounts: Mapping[str, str]) -> str:
    """A word of a command, with folders of this host in the place of mounts."""
    for place, own in sorted(mounts.items(), reverse=True):
        word = word.replace(place, own)
    return word
