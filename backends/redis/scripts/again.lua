-- What was published may be lost, or with one who won't run it. Returns how much is published again.
begin_though_full()
local found = publish_again('+inf')
nudge()
return found
