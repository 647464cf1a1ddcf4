#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# In the machine of `make test-packages`, after boot: the module and the exporter as their packages
# left them. Writes a line for each, and "passed" in the end, to the second serial port.

set -uo pipefail
exec 3>/dev/ttyS1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
version=$(tr ' ' '\n' </proc/cmdline | sed -n 's/^VERSION=//p')
release=$(uname -r)

must() {
    local tried=$1
    shift
    if "$@" >/tmp/said 2>&1; then
        printf 'ok: %s\n' "$tried" >&3
    else
        printf 'FAILED: %s: %s\n' "$tried" "$*" >&3
        cat /tmp/said >&3
        journalctl --no-pager -n 40 >&3
        exit 1
    fi
}
not() { ! "$@"; }
scrape() {
    exec 4<>/dev/tcp/127.0.0.1/10069 &&
        printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&4 && cat <&4
}
scrape_has() { scrape /metrics | grep -q "$1"; }
eventually() {
    for _ in {1..60}; do
        "$@" && return
        sleep 1
    done
    return 1
}
log_says() { grep -q "$1" /tmp/said.dpkg; }

must 'the module is loaded at boot' grep -q ESTABLISHED /proc/tcpstat
must 'it is of this version' test "$(cat /sys/module/tcpstat/version)" = "$version"
must 'no unit of boot failed because of it' not systemctl --quiet is-failed systemd-modules-load.service
must 'the exporter is not enabled' not systemctl --quiet is-enabled tcpstat-exporter.socket
must 'the exporter does not run' not systemctl --quiet is-active tcpstat-exporter.service
must 'the exporter is enabled' systemctl enable --now tcpstat-exporter.socket
must 'it is scraped' scrape_has '^node_tcp_connection_states{state="established"}'
must 'it counts by the module' scrape_has 'tcpstat_source_info{collector="totals",source="module"'
must 'it has a user of its own' test "$(systemctl show -P DynamicUser tcpstat-exporter.service)" = yes
must 'its start was announced to systemd' systemctl --quiet is-active tcpstat-exporter.service

examples=/usr/share/doc/tcpstat-rs/examples/systemd
mkdir -p /etc/systemd/system/tcpstat-exporter.service.d
must 'all namespaces by the drop-in' cp "$examples/tcpstat-exporter.service.d/all-namespaces.conf" \
    /etc/systemd/system/tcpstat-exporter.service.d/
systemctl daemon-reload
must 'it is started again' systemctl restart tcpstat-exporter.service
ip netns add other 2>/dev/null || unshare --net sleep 300 &
must 'it has the units of systemd' eventually scrape_has '^tcpstat_unit_connection_states{unit="[a-z]'
must 'it has the network namespaces' eventually scrape_has 'tcpstat_namespace_connection_states{netns='

mkdir -p /var/lib/prometheus/node-exporter
must 'the file for node_exporter is written' systemctl start tcpstat-textfile.service
must 'it has metrics' grep -q tcpstat_service_listeners /var/lib/prometheus/node-exporter/tcpstat.prom

# A command of another version reads the module by the names of columns.
if command -v older-tcpstat >/dev/null; then
    must 'the command of 0.1 has the totals of this module' \
        sh -c 'older-tcpstat --source module --format json | grep -q ESTABLISHED'
    must 'and its services' sh -c 'older-tcpstat services --source module --format json | grep -q 10069'
fi

# Upgraded while it is loaded, held open and scraped.
exec 5</proc/net/tcpstat_services
head -c 10 <&5 >/dev/null
before=$(systemctl show -P MainPID tcpstat-exporter.service)
for package in /packages/tcpstat-rs_0.0.9_other.deb /packages/tcpstat-rs_"$version"_*.deb \
    /packages/tcpstat-modules-"$release"_"$version"_*.deb; do
    [ ! -e "$package" ] || must "dpkg installs $(basename "$package") while it is in use" dpkg -i "$package"
done
must 'the module is still loaded' grep -q ESTABLISHED /proc/tcpstat
must 'the exporter was started again' eventually test "$(systemctl show -P MainPID tcpstat-exporter.service)" != "$before"
must 'and is scraped' eventually scrape_has 'source="module"'
exec 5<&-

dpkg -P tcpstat-rs "tcpstat-modules-$release" >/tmp/said.dpkg 2>&1
must 'both are purged' not dpkg-query -W tcpstat-rs "tcpstat-modules-$release"
must 'it says that the module stays loaded' log_says 'stays loaded until the next boot'
must 'the module is still loaded' grep -q ESTABLISHED /proc/tcpstat
must 'the exporter has ended' not systemctl --quiet is-active tcpstat-exporter.service tcpstat-exporter.socket
must 'its port is closed' not scrape /
must 'no old numbers are left for node_exporter' not test -e /var/lib/prometheus/node-exporter/tcpstat.prom
must 'no file is left' test -z "$(find /usr /etc -xdev -name '*tcpstat*' -not -name 'tcpstat-test*' -not -name older-tcpstat)"
must 'the module can be unloaded' rmmod tcpstat
must 'its files are gone' not test -e /proc/tcpstat
printf 'passed\n' >&3
