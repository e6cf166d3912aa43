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

/// One page for everything, which says what came.
const TELLING: &str = r#"<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
  <servlet>
    <servlet-name>told</servlet-name>
    <servlet-class>org.apache.jasper.servlet.JspServlet</servlet-class>
    <init-param><param-name>jspFile</param-name><param-value>/WEB-INF/told.jsp</param-value></init-param>
    <load-on-startup>1</load-on-startup>
  </servlet>
  <servlet-mapping><servlet-name>told</servlet-name><url-pattern>/</url-pattern></servlet-mapping>
</web-app>
"#;

/// Starts Tomcat so that it prints what it understood of each whole request, as [`crate::origins`] reads it. It may not listen yet.
///
/// # Errors
/// If it does not start.
pub fn tell(place: &Place, run: &Run, port: u16) -> Result<Program> {
    let (page, name) = (include_str!("../peers/told.jsp"), "WEB-INF/told.jsp");
    start(place, run, port, TELLING, (name, page))
}

/// Starts Tomcat with a page at `/admin/x` that says `REACHED`, and waits until it listens.
///
/// # Errors
/// If it does not start.
pub fn serve(place: &Place, run: &Run) -> Result<Program> {
    let mut program = start(place, run, PORT, APPLICATION, ("admin/x", "REACHED"))?;
    program.listens_within(START, PORT)?;
    Ok(program)
}

fn start(place: &Place, run: &Run, port: u16, application: &str, (name, page): (&str, &str)) -> Result<Program> {
    let folder = run.folder().join(format!("tomcat-{}", place.name()));
    let files = folder.join("webapps/ROOT");
    for part in ["conf", "logs", "temp", "work", "webapps/ROOT/WEB-INF", "webapps/ROOT/admin"] {
        fs::create_dir_all(folder.join(part))?;
    }
    // It asks for both files, and one without content is as good as the usual one here.
    fs::write(folder.join("conf/server.xml"), configuration(port))?;
    fs::write(folder.join("conf/web.xml"), application)?;
    fs::write(files.join("WEB-INF/web.xml"), application)?;
    fs::write(files.join(name), page)?;
    let base = format!("CATALINA_BASE={}", folder.display());
    place.spawn(&["env", &base, "CATALINA_OPTS=-Xmx64m -Xshare:auto", CATALINA, "run"])
}

fn configuration(port: u16) -> String {
    format!(
        r#"<Server port="-1">
  <Service name="Catalina">
    <Connector port="{port}" protocol="HTTP/1.1" maxKeepAliveRequests="-1"/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="webapps" unpackWARs="false" autoDeploy="false"/>
    </Engine>
  </Service>
</Server>
"#
    )
}
