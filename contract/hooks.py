"""What a generator of requests cannot know from the contract: codes that are right, and devices that exist.

Of the requests that are valid and name no device of their own accord, every second is given a device of the seeded owner and a
code that is right for it; the others stay as they were generated.  Before the owner, a stranger sends each of these requests.
"""

import base64
import hashlib
import hmac
import os
import struct
import time
import unicodedata
from collections import Counter
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import requests
import schemathesis
from hypothesis import strategies as st

BASE_URL = os.environ["ARKLOW_CONTRACT_URL"]
OWNER = os.environ["ARKLOW_CONTRACT_OWNER"]
STRANGER = os.environ["ARKLOW_CONTRACT_STRANGER"]

# Those of the property Default_Ignorable_Code_Point that are no format characters (general category Cf), and a blank one.
DEFAULT_IGNORABLE = [
    ("\u034f", "\u034f"),
    ("\u115f", "\u1160"),
    ("\u17b4", "\u17b5"),
    ("\u180b", "\u180f"),
    ("\u2065", "\u2065"),
    ("\u2800", "\u2800"),
    ("\u3164", "\u3164"),
    ("\ufe00", "\ufe0f"),
    ("\uffa0", "\uffa0"),
    ("\ufff0", "\ufffb"),
    ("\U00013430", "\U00013440"),
    ("\U000e0000", "\U000e0fff"),
]

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
STEP_SECONDS = 30
# A TOTP code is accepted once, so a code for every request takes many devices; a user has fifty at most.
DEVICES = 24
MOST_DEVICES = 40

START = "post_v1_self_mfa_enroll_start"
CONFIRM = "post_v1_self_mfa_enroll_confirm"
VERIFY = "post_v1_self_mfa_verify_totp"
REDEEM = "post_v1_self_mfa_verify_totp_backup"
REGENERATE = "post_v1_self_mfa_regenerate_totp"
REMOVE = "delete_v1_self_mfa_remove"


def check_symbol(symbols):
    """The symbol that makes a backup code one: a polynomial over GF(32), field x^5 + x^2 + 1, with α as a root."""
    value = 0
    for symbol in symbols:
        value = times_alpha(value ^ CROCKFORD.index(symbol))
    return CROCKFORD[value]


def times_alpha(value):
    return (value << 1) ^ (0b10_0101 if value & 0b1_0000 else 0)


def with_check_symbol(symbols):
    code = symbols + check_symbol(symbols)
    return "-".join(code[at : at + 4] for at in range(0, 24, 4))


totp_codes = st.text("0123456789", min_size=6, max_size=6)
backup_codes = st.text(CROCKFORD, min_size=23, max_size=23).map(with_check_symbol)

# The formats of the contract: rules for a code that a pattern cannot express.
schemathesis.openapi.format("totp-code", totp_codes)
schemathesis.openapi.format("backup-code", backup_codes)
schemathesis.openapi.format("mfa-code", totp_codes | backup_codes)


@dataclass
class Device:
    """A device of the owner, with what only the owner's authenticator knows."""

    id: str
    seed: bytes
    backup_codes: list
    last_step: int = 0

    def totp_code(self):
        """A code that was not used yet; none if the device has to wait for its next one."""
        now = int(time.time()) // STEP_SECONDS
        step = next((step for step in (now, now + 1) if step > self.last_step), None)
        return None if step is None else self.spend(step)

    def spend(self, step):
        self.last_step = step
        digest = hmac.new(self.seed, struct.pack(">Q", step), hashlib.sha1).digest()
        at = digest[-1] & 0xF
        number = struct.unpack(">I", digest[at : at + 4])[0] & 0x7FFF_FFFF
        return f"{number % 1_000_000:06}"

    def backup_code(self):
        return self.backup_codes.pop() if self.backup_codes else None

    def redeemed(self):
        """A backup code kills the TOTP codes that were shown already."""
        self.last_step = max(self.last_step, int(time.time()) // STEP_SECONDS + 1)


class Owner:
    """The devices of the seeded owner, as far as the answers told of them."""

    def __init__(self):
        self.confirmed = {}
        self.pending = None

    def send(self, method, path, body):
        answer = send(method, path, OWNER, body)
        answer.raise_for_status()
        return answer.json()["data"]

    def enroll(self):
        self.started(self.send("POST", "/v1/self/mfa/enroll/start", {"name": "Spare"}))
        return self.pending

    def started(self, data):
        seed = parse_qs(urlsplit(data["provisioning_uri"]).query)["secret"][0]
        self.pending = Device(data["device"]["id"], base64.b32decode(seed), data["backup_codes"])

    def was_confirmed(self, device_id):
        if self.pending is not None and self.pending.id == device_id:
            self.confirmed[device_id] = self.pending
            self.pending = None

    def keep_devices(self):
        """Keeps the number of devices. Creates none while one is pending, because it would replace that one."""
        while len(self.confirmed) < DEVICES and self.pending is None:
            device = self.enroll()
            self.send("POST", "/v1/self/mfa/enroll/confirm", {"device_id": device.id, "code": device.totp_code()})
            self.was_confirmed(device.id)
        while len(self.confirmed) > MOST_DEVICES:
            device = next(device for device in self.confirmed.values() if device.backup_codes)
            body = {"device_id": device.id, "verification_type": "backup_code", "code": device.backup_code()}
            self.send("DELETE", "/v1/self/mfa/remove", body)
            del self.confirmed[device.id]


owner = Owner()
# What the stranger was answered, by the id of the case.
answers_to_stranger = {}
turns = Counter()


def send(method, path, token, body=None):
    headers = {"x-arklow-auth": token}
    return requests.request(method, BASE_URL + path, headers=headers, json=body, timeout=30)


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = operation_id(case)
    if operation == START and is_valid_of_owner(case) and isinstance(case.body.get("name"), str):
        # What no pattern says: where an invisible character belongs.
        case.body["name"] = "".join(map(visible, case.body["name"]))
    if operation not in (CONFIRM, VERIFY, REDEEM, REGENERATE, REMOVE) or not is_valid_of_owner(case):
        return
    owner.keep_devices()
    if operation == REMOVE:
        # What no schema says: the code is of the type that the body names.
        is_totp = len(case.body["code"]) == 6
        case.body["verification_type"] = "totp" if is_totp else "backup_code"
    turns[operation] += 1
    if turns[operation] % 2 == 0:
        return
    make_right(operation, case.body)
    answers_to_stranger[case.id] = send(case.method, case.path, STRANGER, case.body)


def visible(character):
    """Something to see in place of a format character, a variation selector or another one that shows nothing."""
    is_format = unicodedata.category(character) in ("Cf", "Zl", "Zp")
    is_ignorable = any(first <= character <= last for first, last in DEFAULT_IGNORABLE)
    return "?" if is_format or is_ignorable else character


def is_valid_of_owner(case):
    return (
        case.meta is not None
        and case.meta.generation.mode.is_positive
        and (case.headers or {}).get("x-arklow-auth") == OWNER
        and isinstance(case.body, dict)
    )


def make_right(operation, body):
    """Gives `body` a device of the owner, its own if it names one, and a right code."""
    if operation == CONFIRM:
        device = owner.pending or owner.enroll()
        body["device_id"], body["code"] = device.id, device.totp_code()
        return
    named = owner.confirmed.get(body["device_id"])
    devices = [named] if named else sorted(owner.confirmed.values(), key=lambda device: device.last_step)
    if operation == REGENERATE:
        body["device_id"] = devices[0].id
        return
    is_totp = operation == VERIFY or (operation == REMOVE and body["verification_type"] == "totp")
    for device in devices:
        code = device.totp_code() if is_totp else device.backup_code()
        if code is not None:
            body["device_id"], body["code"] = device.id, code
            return


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code != 200:
        return
    operation = operation_id(case)
    data = response.json()["data"]
    if operation == START:
        owner.started(data)
    elif operation == CONFIRM and data["device"]["confirmed_at"]:
        owner.was_confirmed(data["device"]["id"])
    elif operation == REDEEM and data["valid"]:
        owner.confirmed[data["device_id"]].redeemed()
    elif operation == REGENERATE:
        owner.confirmed[data["device"]["id"]].backup_codes = data["backup_codes"]
    elif operation == REMOVE and data["removed"]:
        owner.confirmed.pop(data["device"]["id"])


@schemathesis.check
def stranger_finds_no_such_device(ctx, response, case):
    """A request that is right but for its sender is answered as if there were no such device."""
    answer = answers_to_stranger.pop(case.id, None)
    if answer is not None:
        codes = [error["code"] for error in answer.json()["errors"] or []]
        assert (answer.status_code, codes) == (404, ["DEVICE_NOT_FOUND"]), (
            f"a stranger who named a device of the owner was answered {answer.status_code} {codes}"
        )


@schemathesis.check
def stranger_sees_no_foreign_device(ctx, response, case):
    """What the owner is shown in a list is in no list of the stranger."""
    if case.method != "GET" or case.path != "/v1/self/mfa/" or response.status_code != 200:
        return
    shown = {item["id"] for item in response.json()["data"]["items"]}
    if shown:
        seen = {item["id"] for item in send("GET", case.path, STRANGER).json()["data"]["items"]}
        assert not shown & seen, "a stranger was shown a device of the owner"


def operation_id(case):
    return case.operation.definition.raw.get("operationId")
