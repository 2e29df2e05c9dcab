"""Guards against what stands in files and topics, and against what callers send."""

from __future__ import annotations

from tests.hostile.guard import DECODERS, FILES, FLOW_FILES, MESSAGES, Guard

OF_INPUT = (
    Guard(
        "leases of other types in a store",
        "each field is of its type",
        "replicator/engine/work/coordinator.py",
        '        if found != str(one.type).partition("[")[0]:',
        "        if False:",
        (DECODERS, "stays_refused and leases"),
    ),
    Guard(
        "leases nested for ever",
        "RecursionError is an error of the store",
        "replicator/engine/work/coordinator.py",
        "except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:",
        "except (ValueError, TypeError, KeyError, AttributeError) as error:",
        (DECODERS, "stays_refused and leases"),
    ),
    Guard(
        "an error detail that cannot be read",
        "it is an error with what to look at",
        "replicator/rpc/convert/faults.py",
        "except DecodeError as error:",
        "except ZeroDivisionError as error:",
        (DECODERS, "stays_refused and messages"),
    ),
    Guard(
        "four billion shards",
        "a coordinator believes in as many as a flow may have",
        "replicator/core/work/lease_calls.py",
        "if not 0 < caller.shards <= SHARDS_MAX:",
        "if False:",
        (DECODERS, "stays_refused and messages"),
    ),
    Guard(
        "a bomb in an offset map",
        "inflating ends at a bound",
        "replicator/core/offsets/offset_map.py",
        "unpacking.decompress(packed, _UNPACKED_BYTES_MAX)",
        "unpacking.decompress(packed)",
        (DECODERS, "bomb"),
    ),
    Guard(
        "escapes in a flow file",
        "mistakes are made printable",
        "replicator/config/yaml/mistakes.py",
        "printable(str(mistake))",
        "str(mistake)",
        (FLOW_FILES, "no_file"),
    ),
    Guard(
        "a link in place of a file of ours",
        "links are not followed",
        "replicator/files.py",
        "os.O_NOFOLLOW",
        "0",
        (FILES, ""),
    ),
    Guard(
        "an interval that is no number",
        "it is none, and the default counts",
        "replicator/rpc/server/control_server.py",
        "if math.isnan(wanted_seconds):",
        "if False:",
        (MESSAGES, "interval"),
    ),
    Guard(
        "a caller's words of a megabyte in an error",
        "what is told of an error is short",
        "replicator/rpc/server/crossing.py",
        "faults.details_of(error)",
        "error.what",
        (MESSAGES, "ResolveMirror"),
    ),
    Guard(
        "a caller's words that act on a terminal",
        "what is told of an error is printable",
        "replicator/rpc/convert/faults.py",
        "kept = printable(text[:bytes_max], lines=True).encode()",
        "kept = text[:bytes_max].encode()",
        (MESSAGES, "acts_on_nothing"),
    ),
    Guard(
        "a flood of calls without rights",
        "a refused call holds nothing",
        "replicator/rpc/server/admission.py",
        "    error.__traceback__ = error.__context__ = None",
        "    error.add_note",
        ("tests/unit/rpc/test_requests.py", "leaves_nothing_behind"),
    ),
    Guard(
        "requests of a megabyte at once, by anybody",
        "a request is read once its call has a place",
        "replicator/rpc/server/admission.py",
        "                async with self._admitted(context, method):\n"
        "                    return await inner(await read(requests, context), context)",
        "                request = await read(requests, context)\n"
        "                async with self._admitted(context, method):\n"
        "                    return await inner(request, context)",
        ("tests/unit/rpc/test_requests.py", "no_place"),
    ),
    Guard(
        "a file that others can write to",
        "modes are looked at",
        "replicator/files.py",
        "if found.st_mode & _OTHERS_WRITE:",
        "if False:",
        (FILES, ""),
    ),
    Guard(
        "another user's file",
        "owners are looked at",
        "replicator/files.py",
        "if found.st_uid not in {me, 0}:",
        "if False:",
        (FILES, ""),
    ),
)
