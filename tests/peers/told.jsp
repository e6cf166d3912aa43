<%-- What Tomcat understood: prints, for each whole request, its port, method, target, host, how many bytes of content, and these
     in hexadecimal digits. --%>
<%@ page session="false" trimDirectiveWhitespaces="true" %><%
    byte[] content = request.getInputStream().readAllBytes();
    String query = request.getQueryString(), host = request.getHeader("host");
    String target = request.getRequestURI() + (query == null ? "" : "?" + query);
    System.out.println(request.getLocalPort() + " " + request.getMethod() + " " + target + " " + (host == null ? "" : host) + " "
        + content.length + " " + java.util.HexFormat.of().formatHex(content));
%>told
