"""The names of all directives the service manager knows, and of those it reads but cannot enforce without root."""

from __future__ import annotations

DIRECTORIES = {
    "RuntimeDirectory": ("run", "RUNTIME_DIRECTORY"),
    "StateDirectory": ("var/lib", "STATE_DIRECTORY"),
    "CacheDirectory": ("var/cache", "CACHE_DIRECTORY"),
    "LogsDirectory": ("var/log", "LOGS_DIRECTORY"),
    "ConfigurationDirectory": ("etc", "CONFIGURATION_DIRECTORY"),
}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


NOT_ENFORCED = _names(
    """
    AmbientCapabilities CapabilityBoundingSet NoNewPrivileges SecureBits DynamicUser SupplementaryGroups
    RootDirectory PrivateTmp PrivateDevices PrivateUsers PrivateNetwork PrivateMounts PrivateIPC ProtectSystem
    ProtectHome ProtectProc ProtectClock ProtectHostname ProtectKernelTunables ProtectKernelModules
    ProtectKernelLogs ProtectControlGroups ProcSubset ReadWritePaths ReadOnlyPaths InaccessiblePaths ExecPaths
    NoExecPaths TemporaryFileSystem BindPaths BindReadOnlyPaths RestrictAddressFamilies RestrictNamespaces
    RestrictRealtime RestrictSUIDSGID RemoveIPC SystemCallFilter SystemCallArchitectures SystemCallErrorNumber
    LockPersonality MemoryDenyWriteExecute KeyringMode DevicePolicy DeviceAllow IPAddressAllow IPAddressDeny
    SocketBindAllow SocketBindDeny UtmpIdentifier Delegate Slice MemoryMax MemoryHigh MemoryAccounting CPUQuota
    CPUWeight CPUAccounting TasksMax TasksAccounting IOWeight IPAccounting LimitNPROC LimitCORE LimitMEMLOCK
    LimitAS OOMScoreAdjust OOMPolicy Nice CPUSchedulingPolicy IOSchedulingClass SyslogLevel SyslogFacility
    SyslogLevelPrefix LogLevelMax LogRateLimitIntervalSec LogRateLimitBurst LoadCredential SetCredential
    FileDescriptorStoreMax TimeoutCleanSec CoredumpFilter
    """
)
KNOWN = {
    "Unit": _names(
        """
    Description Documentation Wants Requires Requisite BindsTo PartOf Upholds Conflicts Before After
    StartLimitIntervalSec StartLimitInterval StartLimitBurst StartLimitAction OnFailure OnSuccess
    DefaultDependencies ConditionPathExists ConditionFileNotEmpty ConditionFileIsExecutable
    ConditionPathIsDirectory AssertPathExists RefuseManualStart RefuseManualStop StopWhenUnneeded CollectMode
    JobTimeoutSec RequiresMountsFor
        """
    ),
    "Install": _names("WantedBy RequiredBy UpheldBy Alias Also DefaultInstance"),
    "Service": NOT_ENFORCED
    | frozenset(DIRECTORIES)
    | frozenset(f"{name}Mode" for name in DIRECTORIES)
    | _names(
        """
    Type ExecStart ExecStartPre ExecStartPost ExecReload ExecStop ExecStopPost ExecCondition Restart RestartSec
    TimeoutStartSec TimeoutStopSec TimeoutAbortSec TimeoutSec RuntimeMaxSec WatchdogSec WatchdogSignal
    NotifyAccess RemainAfterExit SuccessExitStatus RestartPreventExitStatus RestartForceExitStatus RestartSteps
    RestartMaxDelaySec RestartMode PIDFile GuessMainPID Sockets KillMode KillSignal RestartKillSignal
    FinalKillSignal ReloadSignal SendSIGKILL SendSIGHUP Environment EnvironmentFile PassEnvironment
    UnsetEnvironment WorkingDirectory User Group UMask LimitNOFILE StandardInput StandardOutput StandardError
    SyslogIdentifier NonBlocking StartLimitInterval StartLimitBurst RuntimeDirectoryPreserve IgnoreSIGPIPE
    ExitType
        """
    ),
    "Socket": _names(
        """
    ListenStream ListenDatagram FileDescriptorName Service Accept Backlog ReusePort FreeBind NoDelay KeepAlive
    BindIPv6Only SocketMode DirectoryMode SocketUser SocketGroup RemoveOnStop TriggerLimitIntervalSec
    TriggerLimitBurst MaxConnections BindToDevice DeferAcceptSec Symlinks FlushPending TimeoutSec
        """
    ),
}
