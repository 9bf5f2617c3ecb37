"""YAML → frozen values; errors with file, line and key."""

from pipeline.config.display import show
from pipeline.config.endpoints import EndpointConfig, config_home
from pipeline.config.groups import Config, Message
from pipeline.config.identity import fingerprint
from pipeline.config.jobs_by_name import resolve_job
from pipeline.config.keys import read_secret, variable_of
from pipeline.config.loading import Loaded, load
from pipeline.config.origin import Origin
from pipeline.config.schema import schema
from pipeline.config.template import compile_template
from pipeline.config.variables import read_dotenv

__all__ = [
    "Config",
    "EndpointConfig",
    "Loaded",
    "Message",
    "Origin",
    "compile_template",
    "config_home",
    "fingerprint",
    "load",
    "read_dotenv",
    "read_secret",
    "resolve_job",
    "schema",
    "show",
    "variable_of",
]
