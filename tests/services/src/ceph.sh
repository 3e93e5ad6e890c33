#!/bin/sh
# A Ceph cluster of a monitor, an OSD and a radosgw, all on loopback, with its data in a directory.
#
#   cluster DIRECTORY PORT ACCESS_KEY SECRET_KEY
#
# radosgw takes this script's place and listens at 127.0.0.1:PORT, the monitor at 127.0.0.2:PORT:
# the one port that the caller holds is enough, and it is the same after a restart, as the monitor's
# must be. The OSD finds ports of its own.
set -eu
data=$1 port=$2 access=$3 secret=$4
export CEPH_CONF="$data/ceph.conf"
fsid=5f9e1d1a-2a7b-4a56-8a0f-6f1d7a0a2b11
osd=0b0f8c3e-95c4-4c58-9d5e-0a6a1a4b0c22
# Seconds. The caller waits longer.
connect_max=60

# In the background, until this process or the radosgw that it becomes ends, however that happens.
beside() {
    setpriv --pdeathsig KILL -- "$@" &
}

configure() {
    cat >"$CEPH_CONF" <<END
[global]
fsid = $fsid
mon host = v2:127.0.0.2:$port
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = $data/keyring
run dir = $data
admin socket =
log file =
log to stderr = true
err to stderr = true
mon cluster log to file = false
mon cluster log to stderr = false
# Every command and every request would be a line.
debug mon = 0/0
debug rgw = 0/0
# One OSD: no copies.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
# A drive that is nearly full is no reason to stop for data that goes with the test.
mon data avail crit = 0
mon data avail warn = 0
# By default each step of the monitor waits a second for others, and a start has many steps.
paxos propose interval = 0.02
paxos min wait = 0.01
[mon]
mon data = $data/mon
[osd]
osd data = $data/osd
osd objectstore = bluestore
# A sparse file.
bluestore block size = 4294967296
osd memory target = 1073741824
[client]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw data = $data/rgw
END
}

# A first start that did not come to its end is made again, and so is one at another port: the
# monitor's map knows its own.
make() {
    rm -rf "$data/mon" "$data/osd" "$data/made"
    mkdir "$data/mon" "$data/osd"
    configure
    # Without keys (auth none) radosgw hangs.
    ceph-authtool --create-keyring "$data/keyring" --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool "$data/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *'
    ceph-authtool "$data/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
    monmaptool --create --clobber --fsid "$fsid" --addv one "[v2:127.0.0.2:$port]" "$data/monmap"
    ceph-mon -i one --mkfs --monmap "$data/monmap" --keyring "$data/keyring"
    ceph-osd -i 0 --mkfs --osd-uuid "$osd" &
    osd_made=$!
    beside ceph-mon -i one -f
    # An OSD in no CRUSH bucket holds nothing, and every operation on a pool would wait for ever.
    printf '%s\n' "osd new $osd 0" 'osd crush add 0 1 root=default host=one' |
        ceph --connect-timeout "$connect_max"
    wait "$osd_made"
    beside ceph-osd -i 0 -f
    # This makes radosgw's pools as well.
    radosgw-admin user create --uid aft --display-name aft --access-key "$access" --secret-key "$secret" >/dev/null
    echo "$port" >"$data/made"
}

if [ "$(cat "$data/made" 2>/dev/null)" = "$port" ]; then
    beside ceph-mon -i one -f
    beside ceph-osd -i 0 -f
else
    make
fi
exec radosgw -f -n client.admin
