"""Field numbers are append-only."""

import unittest

import generate
import lock
import model

LOCK = {"commands": {"get_object": 100, "put_object": 101}, "messages": {"GetObject": {"bucket": 1, "key": 2, "range": 3}}}

PROTO = """
message GetObject {
  reserved 4, 5;
  reserved "gone", "lost";
  optional string bucket = 1 [(binding) = {
  map<string, string> key = 2;
  google.protobuf.Timestamp range = 3;
}

message Command {
  Payload payload = 1;
  reserved 2 to 99;
  oneof command {
    presignd.s3.v1.GetObject get_object = 100;
  }
}
"""


class Extending(unittest.TestCase):
    def test_starts_commands_at_100_and_fields_at_1(self):
        extended = lock.extended({}, ["get_object"], {"GetObject": ["bucket", "key"]})
        self.assertEqual(extended, {"commands": {"get_object": 100}, "messages": {"GetObject": {"bucket": 1, "key": 2}}})

    def test_gives_new_fields_the_next_numbers_wherever_the_model_puts_them(self):
        extended = lock.extended(LOCK, ["abort", "get_object", "put_object"], {"GetObject": ["added", "bucket", "key", "range"]})
        self.assertEqual(extended["commands"], {"get_object": 100, "put_object": 101, "abort": 102})
        self.assertEqual(extended["messages"]["GetObject"], {"bucket": 1, "key": 2, "range": 3, "added": 4})

    def test_keeps_the_number_of_a_removed_field_and_never_gives_it_away(self):
        removed = lock.extended(LOCK, ["get_object"], {"GetObject": ["bucket", "key"]})
        self.assertEqual(removed, LOCK)
        added = lock.extended(removed, ["get_object", "new_command"], {"GetObject": ["bucket", "key", "new"]})
        self.assertEqual(added["messages"]["GetObject"], {"bucket": 1, "key": 2, "range": 3, "new": 4})
        self.assertEqual(added["commands"]["new_command"], 102)

    def test_gives_a_field_that_returns_its_old_number(self):
        extended = lock.extended(LOCK, [], {"GetObject": ["range"]})
        self.assertEqual(extended["messages"]["GetObject"]["range"], 3)

    def test_refuses_a_number_used_twice(self):
        with self.assertRaisesRegex(lock.LockError, "GetObject: the lock uses a number twice"):
            lock.extended({"commands": {}, "messages": {"GetObject": {"bucket": 1, "key": 1}}}, [], {})

    def test_refuses_a_command_in_the_reserved_range(self):
        with self.assertRaisesRegex(lock.LockError, "Command.get_object: 99"):
            lock.extended({"commands": {"get_object": 99}, "messages": {}}, [], {})


class Keeping(unittest.TestCase):
    whole = {
        "commands": {"get_object": 100},
        "messages": {"GetObject": {"bucket": 1, "key": 2, "range": 3, "gone": 4, "lost": 5}},
    }

    def test_accepts_a_lock_that_holds_what_was_published(self):
        lock.verify_keeps(self.whole, PROTO)

    def test_refuses_a_lock_that_lost_a_number(self):
        for field, message in [("key", "GetObject.key: the lock lost number 2"), ("gone", r"reserved numbers \[4\]")]:
            fields = {name: number for name, number in self.whole["messages"]["GetObject"].items() if name != field}
            with self.subTest(field), self.assertRaisesRegex(lock.LockError, message):
                lock.verify_keeps({**self.whole, "messages": {"GetObject": fields}}, PROTO)

    def test_refuses_a_lock_that_changes_a_number(self):
        with self.assertRaisesRegex(lock.LockError, "Command.get_object: the lock changes number 100 to 101"):
            lock.verify_keeps({**self.whole, "commands": {"get_object": 101}}, PROTO)

    def test_reads_every_number_of_the_published_protos(self):
        operations = model.load()
        commands = lock.published(generate.COMMANDS.read_text())
        self.assertEqual(
            {name: {field for field in fields if field} for name, fields in commands.items()},
            {operation.name: {member.field for member in operation.members} for operation in operations},
        )
        self.assertEqual(
            lock.published(generate.COMMAND.read_text())["Command"].keys(), {operation.field for operation in operations}
        )


class Reserving(unittest.TestCase):
    def test_writes_what_the_model_lost_as_reserved(self):
        self.assertEqual(
            generate.render_reserved({"bucket": 1, "key": 2, "range": 3}, {"key"}, "  "),
            ["  reserved 1, 3;", '  reserved "bucket", "range";'],
        )


if __name__ == "__main__":
    unittest.main()
