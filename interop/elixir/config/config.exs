import Config

config :logger, utc_log: true
