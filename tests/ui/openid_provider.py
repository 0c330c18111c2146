"""A stand-in for the Hub's OpenID provider: discovery, authorize, token, userinfo and keys, on loopback. No tests.

It is as strict as the real one where a client could cheat: a code works once, for the client, redirect address and
PKCE verifier that it was made for. Its `lies` change single answers, to see whether they are believed.
"""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT, SECRET = "client-1", "the client's secret"


def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Provider:
    """One account signs in at a time: `user` is what userinfo tells of it."""

    def __init__(self):
        self.user = {"sub": "id-ann", "preferred_username": "ann", "name": "Ann", "orgs": []}
        self.codes: dict[str, dict] = {}
        self.tokens: dict[str, dict] = {}
        self.lies: dict = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()

    def discovery(self) -> dict:
        """Where everything is."""
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "userinfo_endpoint": "userinfo"}
        told = {name: f"{self.url}/oauth/{place}" for name, place in places.items()}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/oauth/jwks", **told, **self.lies.get("discovery", {})}

    def authorize(self, asked: dict) -> str:
        """The person agrees: the address to go back to, with a code."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = dict(asked)
        return asked["redirect_uri"] + "?" + urlencode({"code": code, "state": asked["state"]})

    def exchange(self, form: dict, authorization: str) -> tuple[int, dict]:
        """A code for tokens, once."""
        expected = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        made = self.codes.pop(form.get("code", ""), None)
        challenge = encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if authorization != expected or made is None or made["redirect_uri"] != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        if made["code_challenge"] != challenge or made["code_challenge_method"] != "S256":
            return 400, {"error": "invalid_grant"}
        access = secrets.token_urlsafe(16)
        self.tokens[access] = self.user
        return 200, {"access_token": access, "token_type": "bearer", "id_token": self.id_token(made["nonce"])}

    def id_token(self, nonce: str) -> str:
        """Who signed in, for whom, until when."""
        claims = {"iss": self.url, "aud": CLIENT, "sub": self.user["sub"], "exp": time.time() + 300, "nonce": nonce}
        parts = [{"alg": "HS256", "typ": "JWT"}, claims | self.lies.get("claims", {})]
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{encoded(hmac.digest(SECRET.encode(), signed.encode(), 'sha256'))}"

    def _handler(provider):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                where = urlsplit(self.path)
                if where.path == "/.well-known/openid-configuration":
                    return self.say(200, provider.discovery())
                if where.path == "/oauth/authorize":
                    asked = {name: values[0] for name, values in parse_qs(where.query).items()}
                    return self.say(303, {}, provider.authorize(asked))
                if where.path == "/oauth/userinfo":
                    token = self.headers.get("authorization", "").removeprefix("Bearer ")
                    user = provider.tokens.get(token)
                    told = {**user, **provider.lies.get("userinfo", {})} if user else {}
                    return self.say(200 if user else 401, told)
                return self.say(200, {"keys": []}) if where.path == "/oauth/jwks" else self.say(404, {})

            def do_POST(self):
                sent = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {name: values[0] for name, values in parse_qs(sent).items()}
                self.say(*provider.exchange(form, self.headers.get("authorization", "")))

            def say(self, status, told, location=None):
                body = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                if location:
                    self.send_header("location", location)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Nothing: pytest's output is for failures."""

        return Handler
