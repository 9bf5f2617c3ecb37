"""YAML → frozen values; errors with file, line and key."""

from pipeline.config.base_url import check_url, host_of
from pipeline.config.display import show, values
from pipeline.config.endpoints import EndpointConfig
from pipeline.config.groups import Config, Message
from pipeline.config.identity import fingerprint
from pipeline.config.jobs_by_name import resolve_job
from pipeline.config.keys import is_reference, read_secret
from pipeline.config.loading import Loaded, load
from pipeline.config.mail_server import mail_server
from pipeline.config.origin import Origin
from pipeline.config.schema import schema
from pipeline.config.shutdowns import Shutdown, shutdown_before, shutdown_warning
from pipeline.config.template import compile_template
from pipeline.config.variables import read_dotenv

__all__ = [
    "Config",
    "EndpointConfig",
    "Loaded",
    "Message",
    "Origin",
    "Shutdown",
    "check_url",
    "compile_template",
    "fingerprint",
    "host_of",
    "is_reference",
    "load",
    "mail_server",
    "read_dotenv",
    "read_secret",
    "resolve_job",
    "schema",
    "show",
    "shutdown_before",
    "shutdown_warning",
    "values",
    "variable_of",
]
