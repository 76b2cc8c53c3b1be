#!/bin/sh
# Run by the image of PostgreSQL when it creates the database: the role that gateway and workers use owns nothing.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set password="$APP_PASSWORD" <<'END'
CREATE ROLE renders_app LOGIN PASSWORD :'password';
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
END
