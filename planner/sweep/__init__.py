"""Many plans (or replays) of one base with changes: ``spec`` asks and answers, ``run`` runs, ``engines`` spread out."""
