"""A real identity provider on loopback: authlib's authorization server over TLS, with discovery, keys and client credentials.

Tokens are got from it as a program gets them: by asking its token endpoint.
"""

import ssl
import threading
import warnings
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpx
import trustme
from flask import Flask, jsonify
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.servers import free_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from authlib.integrations.flask_oauth2 import AuthorizationServer
    from authlib.jose import JsonWebKey
    from authlib.oauth2.rfc6749 import ClientMixin, grants
    from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
    from authlib.oidc.discovery import OpenIDProviderMetadata

AUDIENCE = "weighbridge"


class Program(ClientMixin):  # type: ignore[misc]
    """The one client that is registered."""

    def get_client_id(self):
        return "program"

    def check_client_secret(self, secret):
        return secret == "secret"

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope):
        return scope


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


class Provider:
    """`claims` go into the tokens that it gives out; `lifetime` is theirs, in seconds."""

    def __init__(self, folder):
        self.port = free_port()
        self.issuer = f"https://localhost:{self.port}/realms/acme"
        self.claims: dict[str, Any] = {}
        self.lifetime = 300
        self.keys: list[Any] = []
        self._numbers = count(1)
        authority = trustme.CA()
        self.ca = folder / "idp-ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self.rotate()
        self._app = self._build()
        self.start()

    def rotate(self, keep=1):
        """Sign with a new key from now on; of the older ones `keep` are still published."""
        options = {"kid": f"key-{next(self._numbers)}", "use": "sig", "alg": "RS256"}
        fresh = JsonWebKey.generate_key("RSA", 2048, options, is_private=True)
        self.keys = [fresh, *self.keys[:keep]]

    def start(self):
        self._server = make_server(
            "localhost", self.port, self._app, threaded=True, request_handler=Quiet, ssl_context=self._context
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def token(self, **claims):
        """Ask the token endpoint for a token with these claims."""
        self.claims = {"aud": AUDIENCE, **claims}
        with httpx.Client(verify=ssl.create_default_context(cafile=str(self.ca))) as client:
            answer = client.post(
                f"{self.issuer}/token", data={"grant_type": "client_credentials"}, auth=("program", "secret")
            )
        return answer.raise_for_status().json()["access_token"].encode()

    def _build(self):
        app = Flask("provider")
        server = AuthorizationServer(app, query_client=lambda name: Program(), save_token=lambda *_: None)
        server.register_grant(grants.ClientCredentialsGrant)
        provider = self

        class Tokens(JWTBearerTokenGenerator):  # type: ignore[misc]
            def get_jwks(self):
                return {"keys": [provider.keys[0].as_dict(is_private=True)]}

            def get_extra_claims(self, client, grant_type, user, scope):
                return provider.claims

        server.register_token_generator("default", Tokens(self.issuer, expires_generator=lambda *_: self.lifetime))

        @app.post("/realms/acme/token")
        def token():
            return server.create_token_response()

        @app.get("/realms/acme/.well-known/openid-configuration")
        def discovery():
            metadata = OpenIDProviderMetadata(
                issuer=self.issuer,
                authorization_endpoint=f"{self.issuer}/authorize",
                token_endpoint=f"{self.issuer}/token",
                jwks_uri=f"{self.issuer}/keys",
                response_types_supported=["code"],
                subject_types_supported=["public"],
                id_token_signing_alg_values_supported=["RS256"],
            )
            metadata.validate()
            return jsonify(metadata)

        @app.get("/realms/acme/keys")
        def keys():
            return jsonify({"keys": [key.as_dict() for key in self.keys]})

        return app


@contextmanager
def provider(folder):
    """Run one."""
    running = Provider(folder)
    try:
        yield running
    finally:
        running.stop()
