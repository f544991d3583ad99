"""Tables, and 64 users with a second factor and a session in which the password was just shown."""

import sys

import peer  # noqa: F401
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client

PASSWORD = "correct horse battery staple"

call_command("migrate", verbosity=0)
with open(sys.argv[1], "w", encoding="utf-8") as requests:
    for n in range(64):
        email = f"user{n}@example.org"
        user = get_user_model().objects.create_user(f"user{n}", email, PASSWORD)
        answer = Client().post(
            "/_allauth/app/v1/auth/login",
            {"email": email, "password": PASSWORD},
            content_type="application/json",
        )
        token = answer.json()["meta"]["session_token"]
        answer = Client().post(
            "/_allauth/app/v1/auth/reauthenticate",
            {"password": PASSWORD},
            content_type="application/json",
            headers={"x-session-token": token},
        )
        assert answer.status_code == 200, answer.content
        TOTP.activate(user, generate_totp_secret())
        requests.write(
            f"/_allauth/app/v1/account/authenticators/recovery-codes\tx-session-token: {token}\t{{}}\n"
        )
