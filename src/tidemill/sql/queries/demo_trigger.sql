CREATE FUNCTION tidemill_demo.trigger_job() RETURNS trigger AS $$
BEGIN
  PERFORM tidemill.add_job(TG_ARGV[0], json_build_object(
    'schema', TG_TABLE_SCHEMA,
    'table', TG_TABLE_NAME,
    'op', TG_OP,
    'id', (CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END)
  ));
  RETURN NEW;
END;
$$ LANGUAGE plpgsql VOLATILE;

CREATE TRIGGER send_verification_email
  AFTER INSERT ON tidemill_demo.user_emails
  FOR EACH ROW
  WHEN (NEW.verified is false)
  EXECUTE PROCEDURE tidemill_demo.trigger_job('send_verification_email');
