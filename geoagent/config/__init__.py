"""The configuration: dataclasses are the schema, YAML files are layers, `key=value` wins.

Nothing heavy is imported here: a login node shows, checks and plans a run without torch.

Layers, weakest first: the defaults in the dataclasses, the files that a YAML file names in its
`defaults:` list, the file itself, the `group=choice` overrides (`model=tiny` reads
`configs/model/tiny.yaml`), and the `key=value` overrides.

`schema` and `training` have the keys, `ranges` what a key's value may be, `loading` makes a Config
of files and words, `checks` says what must hold between keys.
"""

from geoagent.config.checks import (
    check_environment,
    check_weights,
    nearest_reward,
    problems,
    validate,
)
from geoagent.config.loading import (
    COMMAND_LINE,
    CONFIG_ROOT,
    GROUPS,
    all_keys,
    dump,
    group_file,
    load,
    nearest_key,
    read_yaml,
    resolve,
    shown,
    to_yaml,
)
from geoagent.config.schema import (
    REWARD_NAMES,
    RULE_NAMES,
    STAGES,
    AgentConfig,
    ClusterConfig,
    Config,
    ConsistencyConfig,
    ContainerConfig,
    DataConfig,
    EvalConfig,
    GeocoderConfig,
    LevelWeights,
    ModelConfig,
    RewardsConfig,
    RolloutConfig,
    SearchConfig,
    SemanticConfig,
    SpatialConfig,
    StageResources,
    TinyModelConfig,
)
from geoagent.config.training import (
    GrpoConfig,
    JudgeConfig,
    LoraConfig,
    PolicyConfig,
    SftConfig,
    StopEarlyConfig,
)

__all__ = [
    "COMMAND_LINE",
    "CONFIG_ROOT",
    "GROUPS",
    "REWARD_NAMES",
    "RULE_NAMES",
    "STAGES",
    "AgentConfig",
    "ClusterConfig",
    "Config",
    "ConsistencyConfig",
    "ContainerConfig",
    "DataConfig",
    "EvalConfig",
    "GeocoderConfig",
    "GrpoConfig",
    "JudgeConfig",
    "LevelWeights",
    "LoraConfig",
    "ModelConfig",
    "PolicyConfig",
    "RewardsConfig",
    "RolloutConfig",
    "SearchConfig",
    "SemanticConfig",
    "SftConfig",
    "SpatialConfig",
    "StageResources",
    "StopEarlyConfig",
    "TinyModelConfig",
    "all_keys",
    "check_environment",
    "check_weights",
    "dump",
    "group_file",
    "load",
    "nearest_key",
    "nearest_reward",
    "problems",
    "read_yaml",
    "resolve",
    "shown",
    "to_yaml",
    "validate",
]
