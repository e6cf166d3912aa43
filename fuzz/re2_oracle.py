# Google's RE2 as an oracle of the fuzz target `re2`: reads an expression and texts, and writes whether it is one, and whether the
# whole of each text matches. Lengths are 32 bits, little-endian. All options but the log are RE2's own, as in Envoy.
import struct
import sys

import re2

options = re2.Options()
options.log_errors = False
source, sink = sys.stdin.buffer, sys.stdout.buffer


def number():
    return struct.unpack('<I', source.read(4))[0]


while len(head := source.read(4)) == 4:
    count = struct.unpack('<I', head)[0]
    expression, *texts = [source.read(number()).decode() for _ in range(count + 1)]
    try:
        pattern = re2.compile(expression, options)
        answer = bytes([1] + [pattern.fullmatch(text) is not None for text in texts])
    except re2.error:
        answer = bytes(count + 1)
    sink.write(answer)
    sink.flush()
