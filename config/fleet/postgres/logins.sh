#!/bin/sh
# Logins of Telegraf, which may only insert messages, and of Grafana, which may only read. Run once, by the database at its first start.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres -d sortbin \
    -v telegraf="$(cat /run/secrets/database-telegraf)" -v grafana="$(cat /run/secrets/database-grafana)" <<'SQL'
CREATE ROLE telegraf LOGIN PASSWORD :'telegraf';
CREATE ROLE grafana LOGIN PASSWORD :'grafana';
GRANT INSERT, SELECT ON message TO telegraf;
GRANT SELECT ON event, latest, health, fleet, bins, totals TO grafana;
SQL
