//! A real Tomcat in a place, with a folder of its own: a server that leaves the parameters of segments out of paths.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use crate::place::Place;
use crate::program::Program;
use crate::run::Run;

/// What Debian's package runs it with.
const CATALINA: &str = "/usr/share/tomcat10/bin/catalina.sh";
/// A port that nothing else in a pod of the HTTP mesh serves on.
pub const PORT: u16 = 9106;
/// A virtual machine of Java starts, on processors that others use as well.
const START: Duration = Duration::from_secs(60);

/// Files and nothing else.
const APPLICATION: &str = r#"<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
  <servlet>
    <servlet-name>default</servlet-name>
    <servlet-class>org.apache.catalina.servlets.DefaultServlet</servlet-class>
  </servlet>
  <servlet-mapping><servlet-name>default</servlet-name><url-pattern>/</url-pattern></servlet-mapping>
</web-app>
"#;

/// Starts Tomcat with a page at `/admin/x` that says `REACHED`, and waits until it listens.
///
/// # Errors
/// If it does not start.
pub fn serve(place: &Place, run: &Run) -> Result<Program> {
    let folder = run.folder().join(format!("tomcat-{}", place.name()));
    let application = folder.join("webapps/ROOT");
    for part in ["conf", "logs", "temp", "work", "webapps/ROOT/WEB-INF", "webapps/ROOT/admin"] {
        fs::create_dir_all(folder.join(part))?;
    }
    // It asks for both files, and one without content is as good as the usual one here.
    fs::write(folder.join("conf/server.xml"), configuration())?;
    fs::write(folder.join("conf/web.xml"), APPLICATION)?;
    fs::write(application.join("WEB-INF/web.xml"), APPLICATION)?;
    fs::write(application.join("admin/x"), "REACHED")?;
    let base = format!("CATALINA_BASE={}", folder.display());
    let mut program = place.spawn(&["env", &base, "CATALINA_OPTS=-Xmx64m -Xshare:auto", CATALINA, "run"])?;
    program.listens_within(START, PORT)?;
    Ok(program)
}

fn configuration() -> String {
    format!(
        r#"<Server port="-1">
  <Service name="Catalina">
    <Connector port="{PORT}" protocol="HTTP/1.1"/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="webapps" unpackWARs="false" autoDeploy="false"/>
    </Engine>
  </Service>
</Server>
"#
    )
}
