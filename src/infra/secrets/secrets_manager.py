"""AWS Secrets Manager: botocore's client (the one that boto3 stands on) with our own credentials, and all it sends under the outbound policy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import ConfigurationError, MissingExtraError, RagError, ServiceCredentialsError, ServicePermissionError
from ..aws.credentials import AwsCredentials, AwsKeys
from ..config import SearchCfg
from ..hops import Hop, answer_error, error_of, foreign
from ..network.faults import fault_of

if TYPE_CHECKING:
    from ..config import SecretsCfg
    from ..network import NetworkPolicy
    from .references import Reference

_REFUSED = ("ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "IncompleteSignatureException")
_BUSY = ("ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException")
SETTING = "secrets.aws_endpoint"
ATTEMPTS = 2
"""That share `[secrets] timeout_s`."""
LEAST_S = 0.05


class SecretsManager:
    """The secrets of one account and region."""

    def __init__(self, cfg: SecretsCfg, policy: NetworkPolicy) -> None:
        self._cfg = cfg
        self._policy = policy
        way = {"use_aws_auth": True, "timeout_s": cfg.timeout_s, "connect_timeout_s": min(cfg.timeout_s, policy.limits.connect_s)}
        asking = SearchCfg(aws_region=cfg.aws_region, aws_profile=cfg.aws_profile, aws_role_arn=cfg.aws_role_arn, **way)
        self._credentials = AwsCredentials(lambda: _load(asking, policy))

    def read(self, reference: Reference) -> str:
        """The value of a secret, or of one key of it; blocks.

        Raises:
            MissingExtraError: botocore is not installed.
            ConfigurationError: there is no such secret or key; no region; no credentials.
            ServiceCredentialsError: AWS refuses the credentials, or does not let them read this secret.
            ServiceUnavailableError: AWS cannot be reached, or not in time; its kinds say why.
        """
        deadline = time.monotonic() + self._cfg.timeout_s
        keys = _ours(self._keys)
        outcome = self._ask(keys, reference, deadline)
        refused = isinstance(outcome, ServiceCredentialsError) and not isinstance(outcome, ServicePermissionError)
        if refused and _ours(lambda: self._credentials.renew_blocking(keys.access_key)):
            outcome = self._ask(_ours(self._keys), reference, deadline)
        if isinstance(outcome, RagError):
            raise outcome
        return self._part(outcome, reference)

    def _keys(self) -> AwsKeys:
        return self._credentials.get_blocking(self._cfg.timeout_s)

    def _ask(self, keys: AwsKeys, reference: Reference, deadline: float) -> str | RagError:
        """The secret's text, or why there is none: returned, so that no error of botocore's, which holds the request, is its context."""
        from botocore import exceptions as aws
        from botocore.parsers import ResponseParserError

        from ..aws.chain import Sender, hush

        hush()

        left = max(LEAST_S, deadline - time.monotonic())
        each = left / ATTEMPTS
        sender = Sender(self._policy, min(each, self._policy.limits.connect_s), each, total_s=left, hop=self._hop)
        try:
            client = self._client(keys, sender)
            found = client.get_secret_value(SecretId=reference.name)
        except RagError as error:
            return error.with_traceback(None)  # botocore's frames lie between, and hold requests with their tokens
        except aws.ClientError as error:
            return self._refused(error, sender.last, reference)
        except (aws.HTTPClientError, aws.ConnectionError) as error:
            return error_of(fault_of(error), sender.last)
        except ResponseParserError:
            return foreign(sender.last, "not in AWS's form")
        except (aws.BotoCoreError, ValueError) as error:
            text = f"AWS Secrets Manager cannot be asked ({type(error).__name__})."
            return ConfigurationError(text, setting="secrets.aws_region", hint="Check region and endpoint.")
        finally:
            sender.close()
        if not {"SecretString", "SecretBinary"} & set(found):  # botocore takes any page with status 200 for an answer
            return foreign(sender.last, "no secret")
        text = found.get("SecretString")
        return text if isinstance(text, str) and text else self._lacking(reference, "holds no text")

    def _client(self, keys: AwsKeys, sender: Any) -> Any:
        import botocore.session
        from botocore.config import Config

        session = botocore.session.Session(profile=self._cfg.aws_profile)
        # Whoever answers this event sends the request instead of botocore.
        session.register("before-send", sender.answer)
        return session.create_client(
            "secretsmanager",
            region_name=keys.region,
            endpoint_url=self._cfg.aws_endpoint,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.token,
            config=Config(proxies={}, retries={"mode": "standard", "total_max_attempts": ATTEMPTS}, parameter_validation=True),
        )

    def _hop(self, url: str) -> Hop:
        setting, reach = (SETTING, "") if self._cfg.aws_endpoint else ("secrets.aws_region", "network.proxy")
        address = "/".join(url.split("/")[:3])
        return Hop("AWS Secrets Manager", address, setting, "secrets.timeout_s", reach_setting=reach, repeats_setting="secrets.timeout_s")

    def _refused(self, error: Any, hop: Hop, reference: Reference) -> RagError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        if code == "ResourceNotFoundException":
            return self._lacking(reference, "is not there", hop.address, hop.proxy)
        general = answer_error(429 if code in _BUSY else status, hop)
        if general is not None:
            return general
        if not code or code.isdigit():  # the status, where no word of AWS's was found
            return foreign(hop, f"HTTP {status}, not in AWS's form")
        if code in _REFUSED:
            text, hint = f"AWS Secrets Manager does not accept this server's credentials ({code}).", "Check profile and role, and this machine's clock."
            return ServiceCredentialsError(text, hop=hop.address, setting="secrets.aws_profile", hint=hint)
        text = f"The credentials may not read the secret {reference.name} ({code or f'HTTP {status}'})."
        hint = "Allow secretsmanager:GetSecretValue on it, and kms:Decrypt on its key."
        return ServicePermissionError(text, hop=hop.address, setting="secrets.aws_role_arn" if self._cfg.aws_role_arn else "secrets.aws_profile", hint=hint)

    def _part(self, text: str, reference: Reference) -> str:
        if not reference.part:
            return text
        try:
            values = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)  # a number's own digits are the secret, not what Python makes of it
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise self._lacking(reference, f"is no JSON object, so it has no key {reference.part}")
        value = values.get(reference.part)
        if not isinstance(value, str) or not value:
            raise self._lacking(reference, f"has no key {reference.part} that holds text")
        return value

    def _lacking(self, reference: Reference, what: str, hop: str = "AWS Secrets Manager", proxy: str = "") -> ConfigurationError:
        text, hint = f"The secret {reference.name} {what} in AWS Secrets Manager.", "Check its name, its keys, and the region."
        return ConfigurationError(text, hop=hop, proxy=proxy, setting="secrets.aws_region", hint=hint)


def _load(cfg: SearchCfg, policy: NetworkPolicy) -> AwsKeys:
    from ..aws.chain import load_keys

    return load_keys(cfg, policy, time.time)


def _ours(ask: Callable[[], Any]) -> Any:
    """Credentials that are asked for as `[search]` asks for them; in errors their keys are those of `[secrets]`."""
    failed: RagError
    try:
        return ask()
    except RagError as error:
        failed = error
    failed.setting = failed.setting.replace("search.", "secrets.")
    if isinstance(failed, MissingExtraError):
        failed.message = "Secrets of AWS need the extra `aws`, which is not installed."
    failed.hop = failed.hop or "AWS"
    raise failed
