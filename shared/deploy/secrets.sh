#!/bin/sh
# Makes the secrets of `docker compose --profile production` in ./secrets, each at random. A file that is there is kept,
# such as timbre/secret of a service that was small before.
# The folder is open to its owner alone. The files in it are readable, for each container runs as a user of its own and
# sees the folder of its service alone.
set -eu
cd "$(dirname "$0")/../.."

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep() {
    if [ -s "secrets/$1" ]; then
        echo "kept  secrets/$1"
    else
        printf '%s\n' "$2" >"secrets/$1"
        echo "made  secrets/$1"
    fi
    chmod 444 "secrets/$1"
}

umask 022
mkdir -p secrets
chmod 700 secrets
mkdir -p secrets/timbre secrets/redis secrets/postgres secrets/store secrets/grafana secrets/proxy
chmod 755 secrets/*/

keep timbre/secret "$(random)"
keep timbre/redis-password "$(random)"
keep timbre/database-password "$(random)"
keep timbre/aws-credentials "[default]
aws_access_key_id = timbre
aws_secret_access_key = $(random)"
keep grafana/password "$(random)"
# Without it, whoever reaches the store's port 18333 can give himself its keys.
keep store/security.toml "[jwt.filer_signing]
key = \"$(random)\""

# The other side of the same passwords.
s3_key="$(sed -n 's/^aws_secret_access_key = //p' secrets/timbre/aws-credentials)"
keep redis/redis.conf "requirepass $(cat secrets/timbre/redis-password)"
keep postgres/password "$(cat secrets/timbre/database-password)"
keep store/s3.json '{"identities": [{"name": "timbre", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    "credentials": [{"accessKey": "timbre", "secretKey": "'"$s3_key"'"}]}]}'
