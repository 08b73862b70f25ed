#!/usr/bin/env python3
"""Lists the public items of strfry-db, and counts them: every type, function, method, constant,
variant and field that the documentation shows. What is `#[doc(hidden)]` does not count.

    strfry-db/public-items.py [--features lmdb]
"""

import json
import os
import subprocess
import sys

command = ["cargo", "rustdoc", "--locked", "-p", "strfry-db", "--lib", *sys.argv[1:]]
command += ["--", "-Zunstable-options", "--output-format", "json"]
metadata = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
# The JSON of rustdoc is not stable yet; any toolchain makes it if it is told to.
subprocess.run(command, check=True, env=os.environ | {"RUSTC_BOOTSTRAP": "1"})
target = json.loads(subprocess.check_output(metadata))["target_directory"]
with open(f"{target}/doc/strfry_db.json", encoding="utf-8") as file:
    crate = json.load(file)
index = crate["index"]
names = set()


def add(path, item_id):
    """Adds an item and what is in it."""
    item = index.get(str(item_id))
    if item is None or item["visibility"] not in ("public", "default"):
        return
    kind, inner = next(iter(item["inner"].items()))
    if kind == "use":
        if inner["is_glob"]:
            for child in index[str(inner["id"])]["inner"]["module"]["items"]:
                add(path, child)
        else:
            add_named(path, inner["name"], inner["id"])
        return
    add_named(path, item["name"], item_id)


def add_named(path, name, item_id):
    item = index.get(str(item_id))
    if item is None:
        return
    path = f"{path}::{name}" if path else name
    kind, inner = next(iter(item["inner"].items()))
    if kind != "module":
        names.add(f"{kind} {path}")
    for child in inner.get("items", []) if kind in ("module", "trait") else []:
        add(path, child)
    if kind == "struct":
        fields = inner["kind"].get("plain", {}) if isinstance(inner["kind"], dict) else {}
        for child in fields.get("fields", []):
            add(path, child)
    if kind == "enum":
        for child in inner["variants"]:
            add(path, child)
    for block in inner.get("impls", []) if kind in ("struct", "enum") else []:
        block = index[str(block)]["inner"]["impl"]
        if block["trait"] is None:
            for child in block["items"]:
                add(path, child)


add("", crate["root"])
print("\n".join(sorted(names, key=lambda name: name.split()[1])))
print(f"{len(names)} public items")
