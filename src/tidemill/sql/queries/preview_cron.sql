select start, clock from tidemill._preview_cron(%(cron)s, %(timezone)s, %(count)s)
