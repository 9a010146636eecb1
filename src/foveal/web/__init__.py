"""The web app: pages, API and feeds over the library and the daily papers. `app.create_app` makes it."""
