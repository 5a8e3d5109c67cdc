"""Which class each blob belongs into, by what it costs and how it was pulled. Pure.

`history` is what is known of pulls, `costs` what a class costs for it. `fixed` are the policies
that anyone can set up without us, `optimum` is what someone would do who knew the future, and
`survival` with `learned` what regvault does, who does not.
"""
