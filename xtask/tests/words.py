"""The definition of a word in src/demo/words.rs once more, in another language: `words.py PATH...`
prints every count under PATH as `count<TAB>word`, the most frequent first. tests/demo compares."""
import collections, os, re, stat, sys, unicodedata

class Roles(dict):  # a letter or number is L, a mark or joiner M, an apostrophe ', all else a space
    def __missing__(self, code):
        c, group = chr(code), unicodedata.category(chr(code))[0]
        self[code] = "'" if c in "'\u2019" else "M" if c in "\u200c\u200d" else {"L": "L", "N": "L", "M": "M"}.get(group, " ")
        return self[code]

roles, word, counts = Roles(), re.compile("L[LM]*(?:'L[LM]*)*"), collections.Counter()
def hidden(at, root):  # whether a directory below root, or one above it there, has a name that begins with a dot
    return any(name.startswith(".") and name != "." for name in os.path.relpath(at, root).split(os.sep))

def binary(start):
    return b"\0" in start or sum("\udc80" <= c <= "\udcff" for c in start.decode("utf-8", "surrogateescape")) > len(start) // 4

for path in (os.path.join(at, name) for root in sys.argv[1:] for at, _, names in os.walk(root) if not hidden(at, root) for name in names):
    if stat.S_ISREG(os.lstat(path).st_mode):
        with open(path, "rb") as file:
            data = file.read()
        if not binary(data[:8192]):
            text = data.decode("utf-8", "replace")
            counts.update(text[m.start():m.end()].lower() for m in word.finditer(text.translate(roles)))
for found, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
    sys.stdout.buffer.write(f"{count}\t{found}\n".encode())
