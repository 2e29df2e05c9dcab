"""Each lie's guard is taken away once, and a test has to fail: `python -m tests.hostile.guards [--kafka] [WORD...]`.

It works on a copy of the tree, and prints a table. A guard whose absence nothing notices ends it with 1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_SECONDS_MAX = 300
_MEMORY_KIB_MAX = 6 << 20


class Guard(NamedTuple):
    """What is told, what keeps it from doing harm, and how that is taken away.

    Attributes:
        lie: In words.
        guard: In words.
        file: Where it is.
        text: What is replaced there, once, by
        without: this.
        test: What has to fail then: a file, and what `-k` chooses in it.
        kafka: Whether that needs brokers.
    """

    lie: str
    guard: str
    file: str
    text: str
    without: str
    test: tuple[str, str]
    kafka: bool = False


ANSWERS = "tests/hostile/test_answers.py"
NAMES = "tests/hostile/test_names.py"
FILES = "tests/hostile/test_local_files.py"
FLOW_FILES = "tests/hostile/test_flow_files.py"
DECODERS = "tests/hostile/test_decoders.py"
MESSAGES = "tests/hostile/test_messages.py"
DECODE = "replicator/wire/decode.py"
CONNECTION = "replicator/wire/transport/connection.py"
INCOMING = "replicator/wire/transport/incoming.py"
METADATA = "replicator/wire/metadata.py"

GUARDS = (
    Guard(
        "a huge count",
        "counts are held against the bytes that are left",
        DECODE,
        "if not 0 <= count <= left // self._item_bytes_min:",
        "if False:",
        (ANSWERS, "huge or no_answer"),
    ),
    Guard(
        "a frame without an end",
        "answers have a largest size",
        INCOMING,
        "if not _PREFIX_BYTES <= size <= entry.frame_bytes_max:",
        "if size < _PREFIX_BYTES:",
        (ANSWERS, "no_answer"),
    ),
    Guard(
        "a negative frame",
        "and a smallest one",
        INCOMING,
        "if not _PREFIX_BYTES <= size <= entry.frame_bytes_max:",
        "if size > entry.frame_bytes_max:",
        (ANSWERS, "no_answer"),
    ),
    Guard(
        "the answer to another request",
        "correlation ids are compared",
        INCOMING,
        "if correlation_id != entry.correlation_id:",
        "if False:",
        (ANSWERS, "no_answer"),
    ),
    Guard(
        "answers twice",
        "what nobody asked for ends the connection",
        INCOMING,
        'raise Unexpected("an answer came without a request")',
        "return None",
        (ANSWERS, "twice"),
    ),
    Guard(
        "slow bytes",
        "a request has a deadline",
        "replicator/wire/transport/unanswered.py",
        "return now - self._stopped_seconds >= self.waiting[0].deadline",
        "return False",
        (ANSWERS, "throttled_is_not_late"),
    ),
    Guard(
        "a pause of 25 days",
        "pauses are bounded",
        CONNECTION,
        "until = now + min(seconds, THROTTLE_SECONDS_MAX)",
        "until = now + seconds",
        (ANSWERS, "pause"),
    ),
    Guard(
        "a strange cluster id",
        "metadata are looked at",
        METADATA,
        "if not _CLUSTER_ID.fullmatch(answer.cluster_id):",
        "if False:",
        (ANSWERS, "no_cluster"),
    ),
    Guard(
        "too many brokers",
        "metadata are looked at",
        METADATA,
        "if len(answer.brokers) > _BROKERS_MAX:",
        "if False:",
        (ANSWERS, "no_cluster"),
    ),
    Guard(
        "hostile topic names",
        "names are those that Kafka takes",
        METADATA,
        "if topic.error_code is ErrorCode.none and not legal_topic_name(str(topic.name)):",
        "if False:",
        (NAMES, "no_topic"),
    ),
    Guard(
        "hostile hosts",
        "hosts are names or addresses",
        METADATA,
        "_HOST.fullmatch(broker.host) and",
        "",
        (NAMES, "no_cluster"),
    ),
    Guard(
        "a broker with a negative number",
        "numbers are 0 or more",
        METADATA,
        " and int(broker.node_id) >= 0",
        "",
        (NAMES, "negative"),
    ),
    Guard(
        "a login that computes for minutes",
        "rounds are bounded",
        "replicator/wire/transport/auth.py",
        "_check_rounds(server_first)",
        "pass",
        (ANSWERS, "minutes"),
    ),
    Guard(
        "connections that are lost at once",
        "a pause that grows",
        "replicator/wire/transport/pace.py",
        "return max(0.0, self._not_before - now)",
        "return 0.0",
        (ANSWERS, "slowly"),
    ),
    Guard(
        "words that act on a terminal",
        "what others say is made printable",
        "replicator/model/text.py",
        "if text.isprintable():",
        "if True:",
        (NAMES, "words"),
    ),
    Guard(
        "a fetch answer that ends early in an old frame",
        "positions are held against the frame's size",
        "replicator/wire/messages/fetch.py",
        "if position > size:",
        "if False:",
        (ANSWERS, "read_on_into"),
    ),
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
        "replicator/rpc/faults.py",
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
        "replicator/config/mistakes.py",
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
        "replicator/rpc/control_server.py",
        "if math.isnan(wanted_seconds):",
        "if False:",
        (MESSAGES, "interval"),
    ),
    Guard(
        "a caller's words of a megabyte in an error",
        "what is told of an error is short",
        "replicator/rpc/crossing.py",
        "faults.details_of(error)",
        "error.what",
        (MESSAGES, "ResolveMirror"),
    ),
    Guard(
        "a caller's words that act on a terminal",
        "what is told of an error is printable",
        "replicator/rpc/faults.py",
        "kept = printable(text[:bytes_max], lines=True).encode()",
        "kept = text[:bytes_max].encode()",
        (MESSAGES, "acts_on_nothing"),
    ),
    Guard(
        "settings that are no numbers",
        "they are looked at where they come in",
        "replicator/admin/topic_values.py",
        "if value is not None and not _is_number(value, lowest):",
        "if False:",
        ("tests/unit/admin/test_topics.py", "cannot_be"),
    ),
    Guard(
        "no settings at all",
        "that is no answer",
        "replicator/admin/topic_values.py",
        "if not entries:",
        "if False:",
        ("tests/unit/admin/test_topics.py", "cannot_be"),
    ),
    Guard(
        "settings that are not told",
        "those that keep records are left alone",
        "replicator/core/topics/configs.py",
        "untouched=(excluded | denied | missing | unreported | DENIED.keys())",
        "untouched=(excluded | denied | unreported | DENIED.keys())",
        ("tests/unit/core/test_topic_plan.py", "what_the_source_does_not_tell"),
    ),
    Guard(
        "a broker that remembers producers for 'banana'",
        "what is no time is not told",
        "replicator/core/copy/producer_memory.py",
        "if value is None or not _is_time(value):",
        "if value is None:",
        ("tests/unit/core/test_producer_memory.py", "no_time"),
    ),
    Guard(
        "another cluster's id that is none",
        "it is looked at before it is compared",
        "replicator/wire/cluster.py",
        "            check_metadata(self.spec, answer)\n            self._check(answer.cluster_id)",
        "            self._check(answer.cluster_id)",
        (ANSWERS, "no_cluster_id"),
    ),
    Guard(
        "a source that starts behind its own end",
        "it contradicts itself",
        "replicator/core/copy/attach.py",
        "or _start_of_nothing(source)",
        "",
        ("tests/unit/core/test_attach.py", "behind_its_own_end"),
    ),
    Guard(
        "another protocol in place of a fetch answer",
        "only what has the request's number is too large",
        INCOMING,
        "if size < _PREFIX_BYTES or correlation != _PREFIX.pack(entry.correlation_id):",
        "if size < _PREFIX_BYTES:",
        ("tests/unit/wire/test_connection.py", "too_large"),
    ),
    Guard(
        "a login that holds for ever",
        "the largest lifetime is one",
        "replicator/wire/decode_values.py",
        "    except OverflowError:  # a login",
        "    except ZeroDivisionError:  # a login",
        ("tests/hostile/test_ways_in.py", "for_ever"),
    ),
    Guard(
        "an authority's file that is gone",
        "our own files are opened apart from the connection",
        "replicator/wire/transport/stream.py",
        "    except OSError as error:  # an SSLError, too",
        "    except ZeroDivisionError as error:  # an SSLError, too",
        ("tests/hostile/test_certificates.py", "exchanged"),
    ),
    Guard(
        "settings without a name",
        "each setting of an answer has one",
        "replicator/admin/topic_values.py",
        'if "" in entries:',
        "if False:",
        ("tests/unit/admin/test_topics.py", "cannot_be"),
    ),
    Guard(
        "settings without a value, or of a strange source",
        "what the source may have set itself stays on the mirror",
        "replicator/core/topics/configs.py",
        "untouched=(excluded | denied | missing | unreported | DENIED.keys())",
        "untouched=(excluded | denied | missing | DENIED.keys())",
        ("tests/unit/core/test_topic_plan.py", "names_and_does_not_tell"),
    ),
    Guard(
        "a flood of calls without rights",
        "a refused call holds nothing",
        "replicator/rpc/admission.py",
        "    error.__traceback__ = error.__context__ = None",
        "    error.add_note",
        ("tests/unit/rpc/test_requests.py", "leaves_nothing_behind"),
    ),
    Guard(
        "requests of a megabyte at once, by anybody",
        "a request is read once its call has a place",
        "replicator/rpc/admission.py",
        "                async with self._place(context, method):\n"
        "                    return await inner(await read(requests, context), context)",
        "                request = await read(requests, context)\n"
        "                async with self._place(context, method):\n"
        "                    return await inner(request, context)",
        ("tests/unit/rpc/test_requests.py", "no_place"),
    ),
    Guard(
        "brokers that a cluster invents",
        "connections to what it does not list are few",
        "replicator/wire/transport/connections.py",
        "            idle.close()",
        "            continue",
        ("tests/unit/wire/test_cluster.py", "invented"),
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
    Guard(
        "start and end of a target log that are none",
        "the leader's own end is compared",
        "replicator/core/copy/attach.py",
        "_contradicting(target)",
        "None",
        ("tests/unit/core/test_attach.py", "contradicts"),
    ),
    Guard(
        "a batch that is said to have landed further on",
        "a batch of ours has to begin there",
        "replicator/engine/copy/attaching/displaced.py",
        "return displaced_by(None, place, mapped=mapped, unseen=unseen) if stands_there else None",
        "return displaced_by(None, place, mapped=mapped, unseen=unseen)",
        ("tests/hostile/test_middle_produce.py", "double_nothing"),
        kafka=True,
    ),
    Guard(
        "an end of a source log that only fetches claim",
        "ListOffsets has to tell the same",
        "replicator/engine/copy/reading/end_checks.py",
        "if listed.value < end:",
        "if False:",
        ("tests/hostile/test_middle_fetch.py", "lies_about_partitions"),
        kafka=True,
    ),
)


def main() -> int:
    """Take each guard away; return 1 where one is not missed."""
    words = [word for word in sys.argv[1:] if word != "--kafka"]
    chosen = [guard for guard in GUARDS if guard.kafka == ("--kafka" in sys.argv)]
    chosen = [guard for guard in chosen if not words or any(word in guard.lie for word in words)]
    unseen = 0
    print("| lie | guard | seen to fail |\n| --- | --- | --- |")  # noqa: T201 - a table
    for guard in chosen:
        seen = _is_missed(guard)
        unseen += not seen
        print(f"| {guard.lie} | {guard.guard} | {'yes' if seen else 'NO'} |", flush=True)  # noqa: T201
    return 1 if unseen else 0


def _is_missed(guard: Guard) -> bool:
    with tempfile.TemporaryDirectory(prefix="replicator-guard-") as directory:
        copy = Path(directory) / "tree"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        path = copy / guard.file
        text = path.read_text()
        assert guard.text in text, f"{guard.file} holds no {guard.text!r}"
        path.write_text(text.replace(guard.text, guard.without))
        file, chosen = guard.test
        # What a guard keeps small may fill the machine without it; brokers have bounds of their own.
        bounded = "ulimit -v unlimited" if guard.kafka else f"ulimit -v {_MEMORY_KIB_MAX}"
        command = ["bash", "-c", f'{bounded}; exec "$@"', "-", sys.executable, "-m", "pytest"]
        command += ["-q", "-x", "-p", "no:cacheprovider", file]
        command += ["-k", chosen] if chosen else []
        try:
            done = subprocess.run(command, cwd=copy, capture_output=True, timeout=_SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired:
            return True
        return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
