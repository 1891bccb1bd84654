# What is done to a service manager, the lab's or a real one, to see whether both answer alike: sh scenario.sh UNITS
# prints each command, its exit code and what it says.
units=$1
try() {
    words=$("$@" 2>/tmp/scenario.$$)
    printf '%s -> %s\n' "$*" $?
    [ -z "$words" ] || printf '%s\n' "$words" | sed 's/^/  out: /'
    sed 's/^/  err: /' /tmp/scenario.$$
}
unit() { printf '%b' "$2" >"$units/$1"; }
settled() { for _ in $(seq 200); do [ "$(systemctl show -P "$2" "$1")" = "$3" ] && return; sleep 0.05; done; echo "$1 $2 never $3"; }

unit s-a.service '[Unit]\nDescription=A\n[Service]\nExecStart=/bin/sleep 1000\nExecReload=/bin/kill -HUP $MAINPID\n[Install]\nWantedBy=multi-user.target\n'
unit s-simple.service '[Service]\nExecStart=/nonexistent\n'
unit s-exec.service '[Service]\nType=exec\nExecStart=/nonexistent\n'
unit s-mute.service '[Service]\nType=notify\nExecStart=/bin/true\n'
unit s-slow.service '[Service]\nType=notify\nTimeoutStartSec=1\nExecStart=/bin/sleep 100\n'
unit s-pre.service '[Service]\nExecStartPre=/bin/false\nExecStart=/bin/sleep 100\n'
unit s-bad.service '[Service]\nFoo=1\n'
unit s-reload.service '[Service]\nExecStart=/bin/sleep 100\nExecReload=/bin/false\n'
unit s-top.service '[Unit]\nRequires=s-pre.service\nAfter=s-pre.service\n[Service]\nExecStart=/bin/sleep 100\n'
unit s-limit.service '[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h\n[Service]\nExecStart=/bin/sleep 100\n'
unit s-sock.socket '[Socket]\nListenStream=127.0.0.1:45671\n'
unit s-sock.service '[Service]\nExecStart=/bin/sleep 100\n'
unit s-kill.service '[Service]\nExecStart=/bin/sleep 1000\nKillSignal=SIGINT\nRestart=on-failure\nRestartSec=100ms\n'
unit s-once.service '[Service]\nType=oneshot\nExecStart=/bin/false\n'
unit s-stay.service '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n'
systemctl daemon-reload

for verb in start stop restart reload try-restart reload-or-restart status enable disable cat reset-failed kill; do
    try systemctl $verb s-none
done
try systemctl show -p LoadState,ActiveState,SubState s-none
try systemctl start
try systemctl reload s-a
try systemctl is-enabled s-a
try systemctl enable s-a
try systemctl enable s-a
try systemctl is-enabled s-a
try systemctl is-active s-a
try systemctl start s-a
try systemctl is-active s-a s-none
try systemctl is-failed s-a
try systemctl reload s-a
settled s-a ActiveState inactive
try systemctl is-active s-a
try systemctl show -p Result,SubState,NRestarts,ExecMainCode,ExecMainStatus s-a
try systemctl start s-a
echo "# changed" >>"$units/s-a.service"
try systemctl show -P NeedDaemonReload s-a
try systemctl restart s-a
try systemctl is-active s-a
try systemctl daemon-reload
try systemctl show -P NeedDaemonReload s-a
try systemctl disable --now s-a
try systemctl is-active s-a

try systemctl start s-simple
settled s-simple ActiveState failed
try systemctl show -p Result,ActiveState,SubState,ExecMainCode,ExecMainStatus s-simple
try systemctl is-failed s-simple
try systemctl reset-failed s-simple
try systemctl is-failed s-simple
try systemctl is-enabled s-simple
for name in s-exec s-mute s-slow s-pre s-bad s-top s-once; do
    try systemctl start $name
    try systemctl show -p Result,LoadState,ActiveState,SubState $name
done
try systemctl start s-stay
try systemctl show -p Result,ActiveState,SubState s-stay
try systemctl restart s-stay
try systemctl stop s-stay
try systemctl start s-reload
try systemctl reload s-reload
try systemctl is-active s-reload
try systemctl reload s-pre
try systemctl reload-or-restart s-reload
try systemctl try-restart s-reload
try systemctl try-restart s-simple

try systemctl start s-limit
try systemctl restart s-limit
try systemctl restart s-limit
try systemctl start s-limit
try systemctl show -p Result,ActiveState s-limit
try systemctl reset-failed s-limit
try systemctl start s-limit
try systemctl reload s-limit

try systemctl start s-sock
try systemctl start s-sock.socket
try systemctl stop s-sock
try systemctl start s-sock.socket
try systemctl show -p ActiveState,SubState,Result s-sock.socket
try systemctl start s-sock
try systemctl show -p SubState s-sock.socket
systemctl stop s-sock 2>/dev/null
settled s-sock.socket SubState listening
try systemctl stop s-sock.socket
try systemctl show -p ActiveState,SubState s-sock.socket

try systemctl start s-kill
try systemctl kill -s KILL s-kill
settled s-kill NRestarts 1
settled s-kill ActiveState active
try systemctl show -p ActiveState,SubState,Result,NRestarts s-kill
try systemctl stop s-kill
try systemctl show -p ActiveState,SubState,Result,NRestarts s-kill
try systemctl kill s-kill
try systemctl show -p Restart,RestartUSec,TimeoutStopUSec,UMask,KillSignal,Type,WatchdogUSec s-kill
try systemctl show -p ActiveState --value s-kill
try systemctl is-active multi-user.target
try systemctl cat s-kill
try systemctl list-units 's-*' --failed --no-legend --plain

rm "$units/s-a.service"
systemctl daemon-reload
try systemctl mask s-a
try systemctl start s-a
try systemctl is-enabled s-a
try systemctl is-active s-a
try systemctl unmask s-a
try systemctl stop s-none.socket

systemctl stop s-limit s-reload >/dev/null 2>&1
rm -f "$units"/s-* /tmp/scenario.$$
systemctl daemon-reload
systemctl reset-failed
