select part, hash is not null as laid from tidemill._installed;
