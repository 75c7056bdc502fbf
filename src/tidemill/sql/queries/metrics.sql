select tidemill._figures()
