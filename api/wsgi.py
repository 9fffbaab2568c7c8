"""WSGI application for gunicorn: environment -> settings -> application."""

from api.app import create_app
from api.services import Services
from shared import logs
from shared.settings import Settings

settings = Settings.from_env()
logs.configure(settings.log_level)
app = create_app(Services.from_settings(settings))
