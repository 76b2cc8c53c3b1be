#!/bin/sh
# Run by the PostgreSQL image when it creates the database: the role used by gateway and workers owns nothing.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set password="$APP_PASSWORD" <<'END'
CREATE ROLE renders_app LOGIN PASSWORD :'password';
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
END
