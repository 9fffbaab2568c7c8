"""WSGI application for gunicorn: environment -> settings -> application."""

from api.app import create_app
from api.services import Services
from shared import logs
from shared.settings import Settings
from shared.telemetry import tracing

settings = Settings.from_env()
logs.configure(settings.log_level)
tracing.start("timbre-api")
services = Services.from_settings(settings)
# What is wrong stands in the log from the start.
services.readiness.begin()
app = create_app(services)
