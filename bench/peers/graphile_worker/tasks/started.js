module.exports = async (payload) => { console.log("started " + payload.id); };
